"""Closed form: the rules of the audit's sentences, on tables made up to obey or to break them."""

import math

import numpy as np
import pandas as pd
import pytest

from gengap.auditing import claims, rademacher_bound, verdict
from gengap.training import Recipe

LEVELS = {"true labels": 0.0, "50% redrawn": 0.5, "random labels": 1.0}
SETS = [*LEVELS, "shuffled pixels", "random pixels", "Gaussian noise"]
TEST = dict(zip(SETS, [0.97, 0.5, 0.1, 0.9, 0.1, 0.1], strict=True))
STEPS = dict(zip(SETS, [100.0, 300.0, 500.0, 150.0, 200.0, 200.0], strict=True))


def table(seeds=3, variant="as given", **changes):
    """A textbook audit; `changes` maps a column to {(data set, seed): value}."""
    rows = [
        {
            "data_set": name,
            "level": LEVELS.get(name, math.nan),
            "variant": variant,
            "seed": seed,
            "train_accuracy": 1.0,
            "test_accuracy": TEST[name],
            "gap": 1 - TEST[name],
            "steps_to_fit": STEPS[name] + seed,
        }
        for seed in range(seeds)
        for name in SETS
    ]
    frame = pd.DataFrame(rows).set_index(["data_set", "seed"], drop=False)
    for column, values in changes.items():
        for place, value in values.items():
            frame.loc[place, column] = value
    return frame.reset_index(drop=True)


def history(seeds=3, *, corrupted_first=()):
    rows = []
    for seed in range(seeds):
        for step in (0, 10, 20, 30):
            early, late = float(step >= 10), float(step >= 30)
            pair = (late, early) if seed in corrupted_first else (early, late)
            rows.append({
                "data_set": "50% redrawn",
                "level": 0.5,
                "variant": "as given",
                "seed": seed,
                "step": step,
                "clean_accuracy": pair[0],
                "corrupted_accuracy": pair[1],
            })
    return pd.DataFrame(rows)


def verdicts(frame, past=None, recipe=None):
    past = history(frame["seed"].nunique()) if past is None else past
    return {c.name: c.verdict for c in claims(frame, past, recipe or Recipe(), num_classes=10)}


def test_a_textbook_audit_supports_everything():
    found = verdicts(table())
    assert set(found) == {
        "fits random labels",
        "capacity is vacuous",
        "the labels decide the gap",
        "random labels are slower",
        "the test error grows with corruption",
        "random inputs fit before random labels",
        "uses the order of the inputs",
        "clean labels are learned first",
    }
    assert set(found.values()) == {"supported"}


def test_one_seed_is_never_more_than_inconclusive():
    assert set(verdicts(table(seeds=1)).values()) == {"inconclusive"}


BROKEN = {
    "fits random labels": {"train_accuracy": {("random labels", 0): 0.9}},
    "capacity is vacuous": {"train_accuracy": {("random labels", 0): 0.9}},
    "the labels decide the gap": {"gap": {("random labels", 0): 0.01}},
    "random labels are slower": {"steps_to_fit": {("random labels", 0): 50.0}},
    "the test error grows with corruption": {"test_accuracy": {("50% redrawn", 0): 0.98}},
    "random inputs fit before random labels": {"steps_to_fit": {("random pixels", 0): 900.0}},
    "uses the order of the inputs": {"test_accuracy": {("shuffled pixels", 0): 0.97}},
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_seed_against_is_inconclusive_and_all_are_not_supported(name):
    assert verdicts(table(**BROKEN[name]))[name] == "inconclusive"
    ((column, change),) = BROKEN[name].items()
    (((data_set, _), value),) = change.items()
    everywhere = {column: {(data_set, seed): value for seed in range(3)}}
    against = "inconclusive" if name == "capacity is vacuous" else "not supported"
    assert verdicts(table(**everywhere))[name] == against


def test_clean_labels_first():
    frame = table()
    name = "clean labels are learned first"
    assert verdicts(frame, history(corrupted_first=(1,)))[name] == "inconclusive"
    assert verdicts(frame, history(corrupted_first=(0, 1, 2)))[name] == "not supported"


def clean_first(failed=(), past=None):
    past = history() if past is None else past
    found = without(failed, past=past)
    return found["clean labels are learned first"]


def test_clean_labels_come_first_at_every_level():
    frame = table()
    lower = frame[frame["data_set"] == "50% redrawn"]
    frame = pd.concat([frame, lower.assign(data_set="20% redrawn", level=0.2)])
    against = history(corrupted_first=(0, 1, 2)).assign(data_set="20% redrawn", level=0.2)
    name = "clean labels are learned first"
    assert verdicts(frame, pd.concat([history(), against]))[name] == "not supported"


def test_a_level_at_which_no_label_was_changed_says_nothing():
    past = history()
    past["corrupted_accuracy"] = math.nan
    claim = clean_first(past=past)
    assert (claim.verdict, claim.ours) == ("inconclusive", "")
    assert claim.sentence == "No level of corruption has clean and corrupted labels."
    frame = table()
    lower = frame[frame["data_set"] == "50% redrawn"].assign(data_set="0.1% redrawn", level=0.001)
    lower["test_accuracy"] = TEST["true labels"]
    whole = pd.concat([
        frame.assign(corrupted_accuracy=1.0),
        lower.assign(corrupted_accuracy=math.nan),
    ])
    none = past.assign(data_set="0.1% redrawn", level=0.001)
    found = verdicts(whole, pd.concat([history(), none]))
    assert found["clean labels are learned first"] == "supported"
    assert found["the test error grows with corruption"] == "supported"


def test_labels_that_are_right_before_training_are_not_learned_yet():
    past = history(corrupted_first=(0, 1, 2))
    past.loc[past["step"] == 0, "clean_accuracy"] = 0.5
    assert clean_first(past=past).verdict == "not supported"


def test_seeds_whose_runs_did_not_end_do_not_say_what_is_learned_first():
    """A run that diverged late has a history, but no accuracy at its end."""
    past = history(corrupted_first=(1,))
    assert clean_first([("50% redrawn", 1)], past).verdict == "supported"
    assert clean_first([("50% redrawn", 0)], past).verdict == "inconclusive"
    assert clean_first([("50% redrawn", 1)], past).ours == "3.0 ± 0.0 times"


def test_speeds_of_what_is_never_fitted_are_not_made_up():
    name = "random inputs fit before random labels"
    unfitted = {("random labels", seed): math.nan for seed in range(3)}

    def told(steps):
        found = claims(table(steps_to_fit=steps), history(), Recipe(), num_classes=10)
        (claim,) = [one for one in found if one.name == name]
        return claim.verdict, claim.sentence

    pixels = {("random pixels", seed): math.nan for seed in range(3)}
    verdict, sentence = told(unfitted | pixels)
    assert verdict == "not supported"
    assert sentence.startswith("Random labels are never fitted, random pixels never, Gaussian")
    assert told(unfitted)[0] == "supported"
    noise = {("Gaussian noise", seed): math.nan for seed in range(3)}
    assert told(unfitted | pixels | noise)[0] == "inconclusive"


def test_what_is_never_fitted_counts_as_last():
    never = {"steps_to_fit": {("random labels", s): math.nan for s in range(3)}}
    found = verdicts(table(**never))
    assert found["random inputs fit before random labels"] == "supported"
    assert found["random labels are slower"] == "inconclusive"


def test_regularizers_are_judged_against_the_recipe_without():
    given, bare = table(), table(variant="without regularizers")
    bare["test_accuracy"] -= 0.02
    both = pd.concat([given, bare])
    found = verdicts(both, recipe=Recipe(weight_decay=0.1))
    assert found["regularizers help"] == "supported"
    assert found["regularizers prevent memorization"] == "not supported"


def of_random(given, bare):
    """Say whether regularizers prevent memorization, by train accuracy with them and without."""
    parts = [table(), table(variant="without regularizers")]
    for part, value in zip(parts, (given, bare), strict=True):
        part.loc[part["data_set"] == "random labels", "train_accuracy"] = value
    both = pd.concat(parts)
    return verdicts(both, recipe=Recipe(weight_decay=0.1))["regularizers prevent memorization"]


def test_regularizers_prevent_only_what_happens_without_them():
    assert of_random(0.5, 1.0) == "supported"
    assert of_random(0.5, 0.5) == "inconclusive"
    assert of_random(1.0, 0.5) == "not supported"


def told(frame, past, name):
    (claim,) = [c for c in claims(frame, past, Recipe(), num_classes=10) if c.name == name]
    return claim


def test_labels_of_which_no_half_is_ever_right_have_no_order():
    name, past = "clean labels are learned first", history()
    past["corrupted_accuracy"] = 0.1
    claim = told(table(), past, name)
    assert claim.verdict == "supported"
    assert claim.sentence.endswith("fitted never, half of the clean ones earlier.")
    past["clean_accuracy"] = 0.2
    claim = told(table(), past, name)
    assert claim.verdict == "inconclusive"
    assert claim.sentence.endswith("fitted never, half of the clean ones neither.")


def test_a_network_that_has_learned_nothing_uses_no_order_that_could_be_seen():
    name = "uses the order of the inputs"
    chance = {("true labels", s): 0.12 for s in range(3)}
    chance |= {("shuffled pixels", s): 0.1 for s in range(3)}
    assert told(table(test_accuracy=chance), history(), name).verdict == "inconclusive"


def test_gaps_of_what_is_not_fitted_say_so():
    name = "the labels decide the gap"
    assert "determine" in told(table(), history(), name).sentence
    claim = told(table(train_accuracy={("random labels", 0): 0.5}), history(), name)
    assert claim.verdict == "inconclusive"
    assert claim.sentence.endswith("on random ones; not both are fitted in every seed.")


NOT_RUN = {
    "fits random labels": "random labels",
    "capacity is vacuous": "random labels",
    "the labels decide the gap": "true labels",
    "random labels are slower": "true labels",
    "the test error grows with corruption": "50% redrawn",
    "random inputs fit before random labels": "Gaussian noise",
    "uses the order of the inputs": "shuffled pixels",
    "clean labels are learned first": "50% redrawn",
    "regularizers help": "true labels",
    "regularizers prevent memorization": "random labels",
}
MEASURED = ["train_accuracy", "test_accuracy", "gap", "steps_to_fit"]


def without(failed, bare=(), *, past=None):
    """The claims where runs failed: (data set, seed) as given, and without regularizers."""
    both = []
    for variant, lost in (("as given", failed), ("without regularizers", bare)):
        frame = table(variant=variant)
        places = pd.Series(list(zip(frame["data_set"], frame["seed"], strict=True)))
        frame.loc[places.isin(list(lost)), MEASURED] = math.nan
        both.append(frame)
    if past is None:
        past = history()
        past = past[~past["seed"].isin([seed for name, seed in failed if name == "50% redrawn"])]
    recipe = Recipe(weight_decay=0.1)
    return {c.name: c for c in claims(pd.concat(both), past, recipe, num_classes=10)}


def everywhere(name):
    return [(name, seed) for seed in range(3)]


@pytest.mark.parametrize("name", NOT_RUN)
def test_what_nobody_measured_is_inconclusive_and_said(name):
    claim = without(everywhere(NOT_RUN[name]))[name]
    assert claim.verdict == "inconclusive" and claim.ours == ""
    assert claim.sentence == f"No run of {NOT_RUN[name]} came to an end."


def test_all_runs_that_did_not_end_are_named():
    found = without([*everywhere("random pixels"), *everywhere("Gaussian noise")])
    claim = found["random inputs fit before random labels"]
    assert claim.sentence == "No run of random pixels or Gaussian noise came to an end."
    assert found["fits random labels"].verdict == "supported"
    claim = without([], bare=everywhere("true labels"))["regularizers help"]
    assert claim.sentence == "No run of true labels without regularizers came to an end."


def test_seeds_without_a_run_are_not_judged():
    found = without([("random labels", 0)])["fits random labels"]
    assert found.verdict == "supported" and "of 2 seeds'" in found.sentence
    found = without([("random labels", 0), ("random labels", 1)])["fits random labels"]
    assert found.verdict == "inconclusive"
    claim = without([("true labels", 0), ("random labels", 1), ("true labels", 2)])
    claim = claim["the labels decide the gap"]
    assert claim.verdict == "inconclusive"
    assert claim.sentence == "No seed's runs of true labels and random labels all came to an end."


def test_verdicts():
    assert verdict([True, True]) == "supported"
    assert verdict([False, False]) == "not supported"
    assert verdict([True, False]) == verdict([True]) == verdict([]) == "inconclusive"


@pytest.mark.parametrize("num_classes", [2, 3, 7, 10])
def test_the_rademacher_bound_holds_for_merged_classes(num_classes):
    """Oracle: the signed mean of a merged predictor, computed on drawn labels."""
    draw = np.random.default_rng(0)
    labels = draw.integers(num_classes, size=200_000)
    right = draw.random(len(labels)) < 0.95
    guesses = np.where(right, labels, draw.integers(num_classes, size=len(labels)))
    half = num_classes // 2
    kept = labels < 2 * half
    signs = np.where(labels < half, 1, -1)[kept]
    values = np.where(guesses < half, 1, -1)[kept]
    correlation = (signs * values).mean()
    bound = rademacher_bound((guesses == labels).mean(), num_classes)
    assert bound <= correlation + 0.01
    assert rademacher_bound(1.0, num_classes) == 1.0
    assert abs(signs.mean()) < 0.01


@pytest.mark.parametrize(("num_classes", "bound"), [(2, 0.8), (3, 0.7), (5, 0.75), (10, 0.8)])
def test_the_rademacher_bound_is_reached_by_errors_across_the_halves(num_classes, bound):
    labels = np.repeat(np.arange(num_classes), 100)
    half = num_classes // 2
    guesses = labels.copy()
    guesses[: len(labels) // 10] = (
        half  # all errors among the first half, none in the class left out
    )
    kept = labels < 2 * half
    signs, values = (np.where(of[kept] < half, 1, -1) for of in (labels, guesses))
    assert (signs * values).mean() == pytest.approx(bound)
    assert rademacher_bound(0.9, num_classes) == pytest.approx(bound)
