"""Closed form: each rule on made-up runs that keep it, break it, or leave it open."""

import math

import pytest

from gengap.studies._zhang2017_claims import agreement, claims
from gengap.studies._zhang2017_trials import ROWS
from tests.studies.synthetic import changed, ends

CHANCE = "random labels teach nothing"
TRUE = "true labels are fitted"
TEST = "test accuracy is the paper's"
DECAY, CROP = "weight decay is not decisive", "random cropping is not decisive"
STILL = "random labels are fitted with weight decay"
AUGMENTED = "random labels are fitted with data augmentation"
ALEXNET = "Alexnet with weight decay does not fit random labels"
SLOWER, FACTOR = "corruption slows the fit", "random labels take a small factor longer"
RISES, INPUTS = "test error rises with corruption", "random inputs are fitted before random labels"
STOPPING, NORM = "early stopping does not help Inception", "BatchNorm helps a little"
COUNTS = "parameters are the paper's"

FIGURE = {"part": "figure", "network": "Alexnet"}
PAIR = {"table": 1, "network": "MLP 3x512", "labels": "true"}
# claim: what breaks it, as (column, value or change, where).
BROKEN = {
    "MLP 1x512 fits random labels": (
        "train_accuracy",
        0.9899,
        {"table": 1, "network": "MLP 1x512", "labels": "random"},
    ),
    "MLP 3x512 fits random labels": (
        "train_accuracy",
        0.9989,
        {"table": 1, "network": "MLP 3x512", "labels": "random"},
    ),
    "Inception fits random labels": (
        "train_accuracy",
        0.9949,
        {"table": 1, "network": "Inception", "labels": "random"},
    ),
    "Inception w/o BatchNorm fits random labels": (
        "train_accuracy",
        0.9949,
        {"table": 1, "network": "Inception w/o BatchNorm", "labels": "random"},
    ),
    "Alexnet fits random labels": (
        "train_accuracy",
        math.nan,
        {"table": 1, "network": "Alexnet", "labels": "random"},
    ),
    CHANCE: ("test_accuracy", 0.121, {"table": 1, "network": "Alexnet", "labels": "random"}),
    TRUE: ("train_accuracy", 0.9929, {**PAIR, "weight_decay": True, "network": "MLP 1x512"}),
    TEST: ("test_accuracy", lambda v: v + 0.026, PAIR),
    DECAY: ("test_accuracy", lambda v: v - 0.036, {**PAIR, "weight_decay": True}),
    CROP: (
        "test_accuracy",
        lambda v: v + 0.02,
        {"table": 1, "network": "Alexnet", "augmentation": "crop", "weight_decay": False},
    ),
    STILL: ("train_accuracy", 0.9899, {"table": 4, "network": "MLP 1x512"}),
    AUGMENTED: ("train_accuracy", 0.9899, {"table": 4, "augmentation": "flip and rotation"}),
    ALEXNET: ("train_accuracy", 0.99, {"table": 4, "network": "Alexnet"}),
    SLOWER: ("steps_to_fit", 120.0, {**FIGURE, "level": 0.6}),
    FACTOR: ("steps_to_fit", 351.0, {**FIGURE, "level": 1.0}),
    RISES: ("test_accuracy", 0.9, {**FIGURE, "level": 0.2}),
    INPUTS: ("steps_to_fit", math.inf, {**FIGURE, "data_set": "gaussian"}),
    STOPPING: ("best_test_accuracy", lambda v: v + 0.011, {"network": "Inception", "table": 1}),
    NORM: ("test_accuracy", 0.8201, {"network": "Inception w/o BatchNorm", "labels": "true"}),
}
BROKEN[NORM] = ("test_accuracy", 0.8576, BROKEN[NORM][2])


def verdicts(frame, scale="paper"):
    return {claim.name: claim.verdict for claim in claims(frame, scale)}


def test_every_claim_is_supported_by_runs_that_keep_every_rule():
    found = verdicts(ends("paper"))
    assert found == dict.fromkeys([*BROKEN, COUNTS], "supported")


@pytest.mark.parametrize("name", BROKEN)
def test_a_claim_is_refuted_where_every_seed_of_a_network_breaks_its_rule(name):
    column, value, where = BROKEN[name]
    assert verdicts(changed(ends("paper"), column, value, **where))[name] == "not supported"


@pytest.mark.parametrize("name", BROKEN)
def test_a_claim_is_open_where_seeds_disagree(name):
    column, value, where = BROKEN[name]
    frame = changed(ends("paper"), column, value, seeds=[1], **where)
    assert verdicts(frame)[name] == "inconclusive"


@pytest.mark.parametrize("name", BROKEN)
def test_one_seed_is_never_more_than_inconclusive(name):
    assert verdicts(ends("paper", seeds=[0]))[name] == "inconclusive"


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_without_runs_every_claim_but_the_counted_one_is_open(scale):
    frame = ends(scale)
    numbers = ["train_accuracy", "test_accuracy", "best_test_accuracy", "steps_to_fit"]
    frame = frame.assign(status="not run", **dict.fromkeys(numbers, math.nan))
    found = verdicts(frame, scale)
    assert found.pop(COUNTS) == "supported"
    assert set(found.values()) == {"inconclusive"}


def test_a_network_with_one_seed_is_named_and_not_judged():
    frame = ends("small")
    (claim,) = (c for c in claims(frame, "small") if c.name == CHANCE)
    assert claim.verdict == "supported"
    assert "One seed only, not judged: Inception, Inception w/o BatchNorm." in claim.sentence


def test_a_run_that_never_fits_true_labels_tells_nothing_in_favour_of_slowness():
    frame = changed(ends("paper"), "steps_to_fit", math.inf, **FIGURE)
    assert verdicts(frame)[SLOWER] == "not supported"


def test_a_diverged_run_has_ended_and_fits_nothing():
    where = {"table": 1, "network": "MLP 1x512", "labels": "random"}
    frame = changed(ends("paper"), "train_accuracy", math.nan, **where)
    frame = changed(frame, "status", "diverged", **where)
    assert verdicts(frame)["MLP 1x512 fits random labels"] == "not supported"


def test_numbers_of_cifar_are_not_judged_on_digits():
    assert {TEST, FACTOR} & verdicts(ends("smoke"), "smoke").keys() == set()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("train_accuracy", 0.9951, "supported"),
        ("train_accuracy", 0.9949, "not supported"),
        ("test_accuracy", 0.5239 + 0.0249, "supported"),
        ("test_accuracy", 0.5239 - 0.0251, "not supported"),
    ],
)
def test_a_row_agrees_with_the_paper_within_its_margins(column, value, expected):
    (row,) = (r for r in ROWS if (r.name, r.test) == ("MLP 3x512", 52.39))
    frame = changed(ends("small"), column, value, row=ROWS.index(row))
    assert agreement(frame, row, "small") == expected


def test_a_row_on_a_subset_is_not_compared_by_test_accuracy():
    (row,) = (r for r in ROWS if (r.name, r.test) == ("Alexnet", 76.07))
    frame = changed(ends("small"), "test_accuracy", 0.4, row=ROWS.index(row))
    assert agreement(frame, row, "small") == "supported"
    assert (
        agreement(changed(ends("paper"), "test_accuracy", 0.4, row=ROWS.index(row)), row, "paper")
        == "not supported"
    )
