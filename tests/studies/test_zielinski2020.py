"""Closed form: the numbers and rules of Zielinski et al. (2020) on made-up runs; one smoke run."""

import math

import pandas as pd
import pytest
import torch

from gengap import studies
from gengap.lab import Lab
from gengap.studies._zielinski2020_claims import claims
from gengap.studies._zielinski2020_numbers import delays
from gengap.studies._zielinski2020_trials import (
    RULES,
    entries,
    equal_groups,
    settings,
    sources,
    trial,
)
from tests.studies.synthetic import changed

SEEDS = (0, 1)
SLOWNESS = {"SGD": 1.0, "rolling mean": 1.0, "mean of three": 1.0, "RM3": 4.0, "M3": 5.0}


def made_up(setting="batch 3"):
    """Return ends and history of runs whose corrupted labels are fitted in a straight line."""
    rows = []
    for rule, slowness in SLOWNESS.items():
        third = 3 if rule in ("M3", "mean of three") else 1
        for seed in SEEDS:
            place = {"part": "rules", "setting": setting, "rule": rule, "seed": seed}
            for epoch in range(6):
                fitted = min(1.0, epoch / 5 / slowness)
                rows.append({
                    **place,
                    "trial": f"{setting} {rule} {seed}",
                    "epoch": epoch,
                    "step": 100 * epoch * third,
                    "corrupted_accuracy": fitted,
                    "clean_accuracy": 0.95,
                    "test_accuracy": 0.9 - 0.3 * fitted,
                })
    history = pd.DataFrame(rows)
    ends = history.groupby("trial", sort=False).last().reset_index()
    return ends.assign(status="stopped", reason="", best_test_accuracy=0.9), history


def made_up_groups():
    rows = [
        {
            "source": "digits",
            "seed": seed,
            "trained": trained,
            "tested": tested,
            "examples": 100,
            "train_accuracy": 1.0,
            "accuracy": 0.95 if (trained, tested) == ("easy", "easy") else 0.6,
            "early_alpha": 0.1 if trained == "easy" else 0.05,
            "early_m_coherence": 10.0,
        }
        for seed in SEEDS
        for trained in ("easy", "hard")
        for tested in ("easy", "hard")
    ]
    return pd.DataFrame(rows)


def verdicts(ends, history, groups):
    return {claim.name: claim.verdict for claim in claims(delays(ends, history), groups)}


def test_all_claims_hold_on_runs_that_keep_every_rule():
    found = verdicts(*made_up(), made_up_groups())
    assert set(found.values()) == {"supported"}, found
    assert len(found) == 6


BREAK = {
    "RM3 memorizes less (batch 3)": (1, "corrupted_accuracy", 0.95, {"rule": "RM3", "epoch": 5}),
    "M3 memorizes less (batch 3)": (
        1,
        "corrupted_accuracy",
        0.25,
        {"rule": "mean of three", "epoch": 5},
    ),
    "RM3 does more than delay (batch 3)": (
        1,
        "clean_accuracy",
        0.89,
        {"rule": "RM3", "epoch": 5},
    ),
    "stopped in time, SGD is as good as RM3": (0, "best_test_accuracy", 0.92, {"rule": "RM3"}),
    "easy generalizes to easy better than hard to hard (digits)": (
        2,
        "accuracy",
        0.92,
        {"trained": "hard", "tested": "hard"},
    ),
    "easy examples cohere (digits)": (2, "early_alpha", 0.2, {"trained": "hard"}),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_claim_falls_when_its_rule_is_broken_in_every_seed_and_is_open_in_one(name):
    place, column, value, where = BREAK[name]
    for seeds, expected in ((SEEDS, "not supported"), ((1,), "inconclusive")):
        frames = [*made_up(), made_up_groups()]
        frames[place] = changed(frames[place], column, value, seeds=seeds, **where)
        assert verdicts(*frames)[name] == expected


def test_half_is_read_between_evaluations_and_delay_is_relative_to_sgd():
    runs = delays(*made_up()).set_index(["rule", "seed"])
    assert runs.loc[("SGD", 0), "half"] == pytest.approx(250)
    assert runs.loc[("mean of three", 0), "half"] == pytest.approx(250)
    assert runs.loc[("mean of three", 0), "delay"] == pytest.approx(1)
    assert runs.loc[("SGD", 0), "level"] == pytest.approx(0.75)
    assert runs.loc[("M3", 0), "updates"] == 500
    assert math.isinf(runs.loc[("RM3", 0), "half"])
    assert math.isnan(runs.loc[("RM3", 0), "level"])


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_every_rule_makes_equally_many_updates(scale):
    for setting in settings(scale):
        steps = {rule: setting.epochs(rule) * setting.steps_per_epoch for rule in RULES}
        made = {r: s // (3 if r in ("M3", "mean of three") else 1) for r, s in steps.items()}
        assert len(set(made.values())) == 1
        assert 0 <= made["SGD"] - setting.updates < setting.steps_per_epoch
        optimizers = {trial(setting, rule, scale, 0).recipe.optimizer for rule in RULES}
        assert optimizers == set(RULES.values())


def test_groups_have_equally_many_examples_of_each_class():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (600,), generator=generator)
    right = torch.rand(600, generator=generator) < 0.8
    easy, hard = equal_groups(targets, right, 300)
    assert right[easy].all()
    assert not right[hard].any()
    assert torch.equal(targets[easy].bincount(), targets[hard].bincount())
    assert len(easy.unique()) == len(easy) == len(hard.unique()) > 60
    held_out = torch.arange(len(easy)) % 6 == 5
    counts = targets[easy[held_out]].bincount()
    assert (6 * counts == targets[easy].bincount()).all()
    assert equal_groups(targets, torch.ones(600, dtype=torch.bool), 300)[1].tolist() == []


def test_the_data_of_a_group_are_told_without_training(tmp_path):
    ids = [[e.trial.id for e in entries(Lab(tmp_path / n), "small", SEEDS)] for n in ("a", "b")]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0])


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_a_page_without_any_run_lists_every_setting(scale, tmp_path):
    result = studies.run("zielinski2020", scale, lab=Lab(tmp_path / "none"), train=False)
    assert len(result.tables[0].frame) == len(settings(scale)) * len(RULES)
    assert {claim.verdict for claim in result.claims} == {"inconclusive"}
    assert result.charts == []
    assert all(sentence.endswith(".") for sentence in result.deviations)
    assert len(sources(scale)) == (1 if scale == "smoke" else 2)
    assert result.markdown().startswith("# Zielinski")


@pytest.mark.slow
def test_smoke_shows_where_the_median_does_more_than_delay(tmp_path):
    result = studies.run("zielinski2020", lab=Lab(tmp_path), seeds=(0, 1))
    found = {claim.name: claim.verdict for claim in result.claims}
    for rule in ("RM3", "M3"):
        assert found[f"{rule} memorizes less (batch 3)"] == "supported"
    assert found["RM3 does more than delay (batch 50)"] == "not supported"
    rows = result.tables[1].frame.set_index("trained on")
    assert rows.loc["easy", "on held-out easy"].mean > rows.loc["hard", "on held-out hard"].mean
    names = [chart.name for chart in result.charts]
    assert names == ["memorized-batch-3", "memorized-batch-50", "traded", "easy-and-hard"]
