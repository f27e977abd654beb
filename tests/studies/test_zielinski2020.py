"""Closed form: the numbers and rules of Zielinski et al. (2020) on made-up runs; one smoke run."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from gengap import studies
from gengap.data import as_split
from gengap.lab import Lab
from gengap.studies._gather import Entry
from gengap.studies._zielinski2020_claims import claims
from gengap.studies._zielinski2020_numbers import delays, groups
from gengap.studies._zielinski2020_trials import (
    RULES,
    entries,
    equal_groups,
    group_data,
    judge,
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
    "RM3 ends with half as much memorized (batch 3)": (
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


AT_END = {"epoch": 5}
EDGES = [
    (
        "RM3 memorizes less (batch 3)",
        1,
        "corrupted_accuracy",
        {"rule": "RM3"} | AT_END,
        0.8999,
        0.9001,
    ),
    (
        "RM3 memorizes less (batch 3)",
        1,
        "corrupted_accuracy",
        {"rule": "SGD"} | AT_END,
        0.3501,
        0.3499,
    ),
    (
        "RM3 ends with half as much memorized (batch 3)",
        1,
        "corrupted_accuracy",
        {"rule": "RM3"} | AT_END,
        0.4999,
        0.5001,
    ),
    (
        "RM3 ends with half as much memorized (batch 3)",
        1,
        "corrupted_accuracy",
        {"rule": "SGD"} | AT_END,
        0.5001,
        0.4999,
    ),
    (
        "stopped in time, SGD is as good as RM3",
        0,
        "best_test_accuracy",
        {"rule": "RM3"},
        0.9099,
        0.9101,
    ),
    (
        "stopped in time, SGD is as good as RM3",
        0,
        "best_test_accuracy",
        {"rule": "SGD"},
        0.8901,
        0.8899,
    ),
    ("easy examples cohere (digits)", 2, "early_alpha", {"trained": "hard"}, 0.0999, 0.1),
]


@pytest.mark.parametrize(("name", "place", "column", "where", "kept", "broken"), EDGES)
def test_a_claim_holds_up_to_the_edge_that_its_rule_names(name, place, column, where, kept, broken):
    for value, expected in ((kept, "supported"), (broken, "not supported")):
        frames = [*made_up(), made_up_groups()]
        frames[place] = changed(frames[place], column, value, **where)
        assert verdicts(*frames)[name] == expected


def test_sgd_may_be_better_than_rm3():
    ends, history = made_up()
    worse = changed(ends, "best_test_accuracy", 0.7, rule="RM3")
    found = verdicts(worse, history, made_up_groups())
    assert found["stopped in time, SGD is as good as RM3"] == "supported"


def test_every_setting_and_source_is_judged_by_itself():
    ends, history = (
        pd.concat(frames, ignore_index=True)
        for frames in zip(made_up("batch 3"), made_up("batch 50"), strict=True)
    )
    for rule in ("RM3", "M3"):
        history = changed(
            history, "corrupted_accuracy", 0.95, setting="batch 50", rule=rule, epoch=5
        )
    ends = changed(ends, "best_test_accuracy", 0.95, setting="batch 50", rule="RM3")
    turned = made_up_groups().assign(source="images")
    turned = changed(turned, "accuracy", 0.95, trained="hard", tested="hard")
    turned = changed(turned, "early_alpha", 0.2, trained="hard")
    found = verdicts(ends, history, pd.concat([made_up_groups(), turned], ignore_index=True))
    assert found.pop("stopped in time, SGD is as good as RM3") == "not supported"
    good = ("batch 3)", "digits)")
    assert found == {
        name: "supported" if name.endswith(good) else "not supported" for name in found
    }
    assert len(found) == 10


def test_delays_are_of_the_runs_of_rules_in_the_order_of_their_steps():
    ends, history = made_up()
    history = changed(history, "corrupted_accuracy", lambda v: v / 2, rule="rolling mean")
    history = changed(history, "test_accuracy", 0.1, rule="SGD", epoch=0)
    history = changed(history, "corrupted_accuracy", 0.5, rule="RM3", epoch=5)
    groups = [frame.assign(part="groups") for frame in (ends, history)]
    ends, history = (
        pd.concat([frame[::-1], other])
        for frame, other in zip((ends, history), groups, strict=True)
    )
    runs = delays(ends, history).set_index(["rule", "seed"])
    assert len(runs) == 2 * len(RULES)
    assert (runs["updates"] == 500).all()
    assert runs["fitted"].xs(0, level="seed").to_dict() == {
        "SGD": 1.0,
        "rolling mean": 0.5,
        "mean of three": 1.0,
        "RM3": 0.5,
        "M3": 0.2,
    }
    assert runs.loc[("SGD", 0), "level"] == pytest.approx(0.75)
    assert runs.loc[("SGD", 0), "lost"] == pytest.approx(0.3)
    assert runs.loc[("rolling mean", 0), "delay"] == pytest.approx(2)
    assert runs.loc[("mean of three", 0), "delay"] == pytest.approx(1)
    assert runs.loc[("RM3", 0), "half"] == pytest.approx(500)


SAYS = {"easy": 0, "hard": 1}
HELD_OUT = {"easy": [0, 0, 0, 1], "hard": [0, 1, 1]}


class Kept:
    """A lab that holds runs of made-up groups; each network says one class always."""

    def __init__(self, status):
        self.status, self.store = status, self

    def is_complete(self, trial):
        return self.status.get(trial) != "unfinished"

    def result(self, trial):
        return {"status": self.status.get(trial, "fitted"), "final": {"train_accuracy": 1.0}}

    def model(self, trial):
        group = trial.id.split()[1]
        return lambda x: torch.eye(2)[SAYS[group]].expand(len(x), 2)

    def entry(self, source, group, seed):
        train, test = (as_split(torch.zeros(len(y), 1), y) for y in ([0, 1, 1], HELD_OUT[group]))
        trial = SimpleNamespace(
            id=f"{source} {group} {seed}", seed=seed, splits=lambda: (train, test)
        )
        return Entry(trial=trial, place={"part": "groups", "source": source, "group": group})


def test_groups_are_tested_on_held_out_examples_of_both():
    lab = Kept({"a easy 1": "unfinished", "b hard 0": "failed"})
    plan = [
        lab.entry(source, group, seed)
        for source in ("a", "b")
        for group in ("easy", "hard")
        for seed in SEEDS
    ]
    probed = pd.DataFrame([
        {"trial": entry.trial.id, "step": step, "alpha": alpha, "m_coherence": 10 * alpha}
        for entry in plan
        for step, alpha in ((0, 9.0), (1, 0.1), (25, 0.3), (26, 9.0))
    ])
    found = groups(lab, plan, probed)
    assert found["early_alpha"].tolist() == pytest.approx([0.2] * len(found))
    assert found["early_m_coherence"].tolist() == pytest.approx([2.0] * len(found))
    by_pair = found.set_index(["source", "seed", "trained", "tested"])["accuracy"]
    assert by_pair.loc[("a", 0)].to_dict() == pytest.approx({
        ("easy", "easy"): 3 / 4,
        ("easy", "hard"): 1 / 3,
        ("hard", "easy"): 1 / 4,
        ("hard", "hard"): 2 / 3,
    })
    assert list(by_pair.loc[("a", 1)].index) == [("hard", "hard")]
    assert set(by_pair.loc[("b", 0)].index.get_level_values("trained")) == {"easy"}
    assert len(by_pair) == 4 + 1 + 2 + 4


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


def test_small_groups_are_taken_from_all_over_the_examples():
    targets, right = torch.arange(600) % 3, torch.arange(600) % 2 == 0
    for group in equal_groups(targets, right, 60):
        assert group.shape == (54,)  # 20 of a class, and 18 can be parted in six
        assert group.min() < 6 and group.max() > 593


@pytest.mark.parametrize(("group", "correct"), [("easy", True), ("hard", False)])
def test_a_group_holds_what_the_judge_had_right_or_wrong(group, correct):
    source = sources("smoke")[0]
    chosen = judge(source, 0)
    assert chosen.recipe.epochs == 1
    split, _ = chosen.splits()
    right = torch.rand(len(split), generator=torch.Generator().manual_seed(0)) < 0.7
    lab = SimpleNamespace(
        examples=lambda trial: {chosen.id: pd.DataFrame({"correct": right})}[trial.id]
    )
    rows = {x.numpy().tobytes(): i for i, x in enumerate(split.inputs)}
    assert len(rows) == len(split)
    halves = group_data(lab, source, group, 0).load()
    train, held_out = ([rows[x.numpy().tobytes()] for x in half.inputs] for half in halves)
    assert (right[train + held_out] == correct).all()
    assert len(set(train + held_out)) == len(train + held_out) == 6 * len(held_out) > 200
    for half, own in zip(halves, (train, held_out), strict=True):
        assert torch.equal(half.targets, split.targets[own])


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
def test_smoke_shows_what_the_median_ends_with(tmp_path):
    result = studies.run("zielinski2020", lab=Lab(tmp_path), seeds=(0, 1))
    found = {claim.name: claim.verdict for claim in result.claims}
    for rule in ("RM3", "M3"):
        assert found[f"{rule} memorizes less (batch 3)"] == "supported"
    assert found["RM3 ends with half as much memorized (batch 50)"] == "not supported"
    rows = result.tables[1].frame.set_index("trained on")
    assert rows.loc["easy", "on held-out easy"].mean > rows.loc["hard", "on held-out hard"].mean
    names = [chart.name for chart in result.charts]
    assert names == ["memorized-batch-3", "memorized-batch-50", "traded", "easy-and-hard"]
