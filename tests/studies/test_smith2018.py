"""Closed form: the rules of the study on made-up runs, its draws, its slope; a smoke run."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from gengap import studies
from gengap.lab import Lab
from gengap.studies._smith2018_claims import claims
from gengap.studies._smith2018_numbers import EVIDENCE, OPTIMUM, optima, slope
from gengap.studies._smith2018_trials import (
    PRECISIONS,
    Digits,
    entries,
    evidence_trial,
    sweeps,
    zeros_and_ones,
)
from tests.studies.synthetic import changed

SEEDS = (0, 1)


def made_up_evidence():
    rows = []
    for labels in ("informative", "random"):
        for seed in SEEDS:
            for place, precision in enumerate(PRECISIONS):
                good = labels == "informative"
                far = abs(place - 8)
                row = dict.fromkeys(EVIDENCE, 1.0)
                row |= {"precision": precision, "converged": True}
                row |= {"log_ratio": 20.0 - 3 * far if good else -0.1 - place}
                row |= {"test_loss": 0.1 + 0.01 * far, "margin": 3.0 if good else 2.0}
                row |= {"train_accuracy": 1.0 if good else 0.5 + place / (2 * len(PRECISIONS) - 2)}
                row |= {"test_accuracy": 0.995 if good else 0.5}
                rows.append({"labels": labels, "seed": seed, **row})
    return pd.DataFrame(rows)


def made_up_optima():
    rows = [
        {
            "what": what,
            "sweep": f"{what} {value}",
            "value": value,
            "optimum": 100 * value,
            "standard_error": 0.1,
            "interior": True,
            "accuracy": 0.95,
            "largest": 0.9,
        }
        for what in ("learning rate", "examples")
        for value in (0.1, 0.3, 1.0)
    ]
    return pd.DataFrame(rows, columns=list(OPTIMUM))


def verdicts(evidence, found, scale="small"):
    return {claim.name: claim.verdict for claim in claims(evidence, found, scale)}


def test_all_claims_hold_on_runs_that_keep_every_rule():
    found = verdicts(made_up_evidence(), made_up_optima())
    assert set(found.values()) == {"supported"}, found
    assert len(found) == 9
    assert len(verdicts(made_up_evidence(), made_up_optima(), "smoke")) == 8


BREAK = {
    "a linear model memorizes random labels": ("train_accuracy", 0.9, {"labels": "random"}),
    "the same model learns informative labels": ("test_accuracy", 0.98, {"labels": "informative"}),
    "on random labels the evidence never prefers the model": (
        "log_ratio",
        1.5,
        {"labels": "random", "precision": PRECISIONS[3]},
    ),
    "on informative labels it prefers the model over a range of priors": (
        "log_ratio",
        lambda values: values - 16,
        {"labels": "informative"},
    ),
    "the prior of highest evidence is nearly the best one": (
        "test_loss",
        0.2,
        {"labels": "informative", "precision": PRECISIONS[8]},
    ),
    "informative labels have the larger margin": ("margin", 1.0, {"labels": "informative"}),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_claim_falls_when_its_rule_is_broken_in_every_seed_and_is_open_in_one(name):
    column, value, where = BREAK[name]
    for seeds, expected in ((SEEDS, "not supported"), ((1,), "inconclusive")):
        evidence = changed(made_up_evidence(), column, value, seeds=seeds, **where)
        assert verdicts(evidence, made_up_optima())[name] == expected


def test_the_claims_of_the_batch_size_fall_open_or_apart():
    grows = "the optimum batch size grows with learning rate"
    peak = "there is an optimum batch size"
    flat = changed(made_up_optima(), "optimum", 50.0, what="learning rate")
    assert verdicts(made_up_evidence(), flat)[grows] == "not supported"
    loose = changed(made_up_optima(), "standard_error", 3.0, what="learning rate")
    assert verdicts(made_up_evidence(), loose)[grows] == "inconclusive"
    alone = changed(made_up_optima(), "standard_error", math.nan)
    assert verdicts(made_up_evidence(), alone)[peak] == "inconclusive"
    level = changed(made_up_optima(), "accuracy", 0.9)
    assert verdicts(made_up_evidence(), level)[peak] == "not supported"
    ends = changed(made_up_optima(), "interior", False, sweep="examples 0.1")
    assert verdicts(made_up_evidence(), ends)[peak] == "inconclusive"


def test_the_slope_is_that_of_the_logarithms_with_its_error():
    value, error = slope(made_up_optima(), "examples")
    assert value == pytest.approx(1.0, rel=1e-12)
    x = np.log([0.1, 0.3, 1.0])
    assert error == pytest.approx(0.1 / math.sqrt(((x - x.mean()) ** 2).sum()), rel=1e-12)
    outside = changed(made_up_optima(), "interior", False, what="examples")
    assert all(map(math.isnan, slope(outside, "examples")))


def test_optima_are_read_from_the_ends_and_what_diverged_is_chance():
    rows = [
        {
            "part": "sweep",
            "what": "learning rate",
            "sweep": "a",
            "value": 0.1,
            "batch_size": size,
            "seed": seed,
            "status": "diverged" if size == 2 else "stopped",
            "test_accuracy": math.nan if size == 2 else 0.9 - 0.01 * math.log(size / 16) ** 2,
        }
        for size in (2, 8, 16, 32, 64)
        for seed in SEEDS
    ]
    (row,) = optima(pd.DataFrame(rows)).to_dict("records")
    assert row["optimum"] == pytest.approx(16, rel=1e-6)
    assert row["interior"] and row["accuracy"] == pytest.approx(0.9)
    assert row["largest"] == pytest.approx(0.9 - 0.01 * math.log(4) ** 2)
    assert not len(optima(pd.DataFrame(rows[:4])))


def test_zeros_and_ones_are_balanced_and_apart():
    chosen = Digits(data="digits", train=20, test=30)
    train, test = zeros_and_ones(chosen, 0).load()
    assert train.targets.bincount().tolist() == [20, 20]
    assert test.targets.bincount().tolist() == [30, 30]
    x, y = (split.batch()[0].flatten(1) for split in (train, test))
    assert not bool((x[:, None] == y[None]).all(-1).any())
    assert float(x.min()) == 0 and 0.9 < float(x.max()) <= 1
    other, _ = zeros_and_ones(chosen, 1).load()
    assert not torch.equal(other.inputs, train.inputs)
    again, _ = zeros_and_ones(chosen, 0).load()
    assert torch.equal(again.inputs, train.inputs)


def test_random_labels_are_redrawn_in_both_halves():
    train, test = evidence_trial("smoke", "random", 0).splits()
    for split in (train, test):
        assert 0.3 < float(split.changed.double().mean()) < 0.7


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_every_sweep_has_enough_updates_and_sizes(scale):
    for what, own in sweeps(scale).items():
        assert len({sweep.name for sweep in own}) == len(own) > 1, what
        for sweep in own:
            assert len(sweep.sizes) >= 5 and max(sweep.sizes) <= sweep.examples
            recipe = sweep.trial(sweep.sizes[0], 0).recipe
            steps = recipe.epochs * math.ceil(sweep.examples / recipe.batch_size)
            assert sweep.updates <= steps < sweep.updates + sweep.examples / recipe.batch_size + 1


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_a_page_without_any_run_has_no_verdicts(scale, tmp_path):
    result = studies.run("smith2018", scale, lab=Lab(tmp_path / "none"), train=False)
    assert {claim.verdict for claim in result.claims} == {"inconclusive"}
    assert result.charts == []
    assert all(sentence.endswith(".") for sentence in result.deviations)
    assert result.markdown()


def test_places_of_one_trial_share_it():
    plan = entries("small", SEEDS)
    assert len({entry.trial.id for entry in plan}) < len(plan)


@pytest.mark.slow
def test_smoke_supports_the_paper_on_digits(tmp_path):
    result = studies.run("smith2018", lab=Lab(tmp_path))
    assert not result.refuted
    verdict = {claim.name: claim.verdict for claim in result.claims}
    assert list(verdict.values())[:5] == ["supported"] * 5
    assert len(result.charts) == 9
