"""Closed form: the rules of the study on made-up numbers; twin: a smoke run measured by hand."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

import gengap
from gengap import studies
from gengap._streams import streams
from gengap.curvature import keskar_sharpness
from gengap.lab import Lab
from gengap.studies import _keskar2017_numbers, _keskar2017_pictures
from gengap.studies._gather import Entry, Gathered
from gengap.studies._keskar2017_claims import claims
from gengap.studies._keskar2017_numbers import EPSILONS, FULL, Numbers, at_least_loss, measure
from gengap.studies._keskar2017_trials import LARGE, SMALL, entries, networks
from tests.studies.synthetic import changed

SEEDS = (0, 1)
(NET,) = networks("smoke")
SPACES = (FULL, "20 directions")


def made_up_ends():
    places = [("regimes", SMALL, 0, 0.96), ("regimes", LARGE, 0, 0.94), ("warm", LARGE, 10, 0.95)]
    return pd.DataFrame([
        {
            "part": part,
            "network": NET.name,
            "regime": regime,
            "warm": warm,
            "seed": seed,
            "status": "fitted",
            "train_accuracy": 1.0,
            "test_accuracy": test,
            "epoch": 9.0,
        }
        for part, regime, warm, test in places
        for seed in SEEDS
    ])


def made_up_numbers():
    ends = made_up_ends()
    place = ends[["part", "network", "regime", "warm", "seed"]]
    value = [{SMALL: 1.0, LARGE: 9.0}[row.regime] / (1 + row.warm) for row in place.itertuples()]
    sharpness = pd.concat([
        place.assign(epsilon=epsilon, space=space, value=value, evaluations=20.0)
        for epsilon in EPSILONS
        for space in SPACES
    ])
    regimes = place[place["part"] == "regimes"]
    distance = [{SMALL: 40.0, LARGE: 10.0}[regime] for regime in regimes["regime"]]
    paths = pd.DataFrame([
        {
            "network": NET.name,
            "seed": seed,
            "kind": "line",
            "half": "train",
            "alpha": alpha,
            "loss": loss,
            "accuracy": 1.0,
        }
        for seed in SEEDS
        for alpha, loss in {-0.25: 0.1, 0.0: 0.0, 1.0: 0.0, 1.25: 3.0}.items()
    ])
    return Numbers(sharpness=sharpness, distances=regimes.assign(distance=distance), paths=paths)


def verdicts(ends, numbers):
    return {claim.name: claim.verdict for claim in claims(ends, numbers, [NET])}


def test_nothing_is_claimed_of_what_has_not_run():
    ends, numbers = made_up_ends(), made_up_numbers()
    cold = ends[ends["part"] == "regimes"]
    assert len(verdicts(cold, numbers)) == 8
    assert not any("warm" in name for name in verdicts(cold, numbers))
    assert verdicts(ends.assign(status="not run"), numbers) == {}


def test_the_papers_numbers_support_every_claim():
    found = verdicts(made_up_ends(), made_up_numbers())
    assert len(found) == 9
    assert set(found.values()) == {"supported"}


def shifted(numbers, **frames):
    kept = {name: getattr(numbers, name) for name in ("sharpness", "distances", "paths")}
    return Numbers(**(kept | frames))


@pytest.mark.parametrize(
    ("name", "frame", "change"),
    [
        ("both batch sizes fit", "ends", ("train_accuracy", 0.9, {"regime": LARGE})),
        ("small batches generalize", "ends", ("test_accuracy", 0.99, {"regime": LARGE})),
        ("large batches end sharper", "sharpness", ("value", 20.0, {"regime": SMALL})),
        ("small batches go farther", "distances", ("distance", 20.0, {"regime": SMALL})),
        ("the line between them", "paths", ("loss", 9.0, {"alpha": -0.25})),
        ("a warm start", "sharpness", ("value", 20.0, {"part": "warm"})),
    ],
)
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(name, frame, change):
    column, value, where = change
    for seeds, wanted in ((SEEDS, "not supported"), (SEEDS[:1], "inconclusive")):
        ends, numbers = made_up_ends(), made_up_numbers()
        if frame == "ends":
            ends = changed(ends, column, value, seeds=seeds, **where)
        else:
            table = getattr(numbers, frame).reset_index(drop=True)
            told = changed(table, column, value, seeds=seeds, **where)
            numbers = shifted(numbers, **{frame: told})
        found = verdicts(ends, numbers)
        matching = {verdict for claim, verdict in found.items() if claim.startswith(name)}
        assert matching == {wanted}


def test_intervals_that_meet_do_not_support():
    numbers = made_up_numbers()
    table = numbers.sharpness.reset_index(drop=True)
    wide = changed(table, "value", 60.0, seeds=SEEDS[:1], regime=LARGE, part="regimes")
    found = verdicts(made_up_ends(), shifted(numbers, sharpness=wide))
    sharper = {v for name, v in found.items() if name.startswith("large batches")}
    assert sharper == {"inconclusive"}


def test_large_batches_are_a_tenth_of_the_data_and_small_ones_keep_the_ratio():
    whole = {"F1": 60_000, "C1": 50_000}
    for network in networks("small"):
        small, large = network.batches
        examples = network.examples or whole[network.name]
        assert large * 10 == examples
        paper = 256 / whole[network.name]
        assert small == pytest.approx(paper * examples, abs=0.5)


def test_sharpness_of_some_examples_is_measured_on_a_fixed_draw(tmp_path, monkeypatch):
    lab = Lab(tmp_path)
    network = replace(networks("smoke")[0], measured=30, epochs=(2, 2), warm=())
    monkeypatch.setattr(_keskar2017_numbers, "networks", lambda scale: [network])
    trial = network.trial(LARGE, 0)
    place = {"part": "regimes", "network": network.name, "regime": LARGE, "warm": 0}
    plan = [Entry(trial=trial, place=place)]
    lab.run([trial])
    numbers = measure(lab, plan, "smoke", compute=True, progress=None)
    first, train = numbers.sharpness.iloc[0], trial.splits()[0]
    losses = gengap.Risk(lab.model(trial), train, dtype=torch.float64).per_example()
    drawn = torch.randperm(len(train), generator=streams(0)("sharpness"))[:30]
    assert first.loss == pytest.approx(float(losses[drawn].mean()), rel=1e-9)
    assert first.loss != pytest.approx(float(losses.mean()), rel=1e-3)


@pytest.mark.slow
def test_a_smoke_run_is_measured_as_by_hand_and_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("keskar2017", "smoke", lab=lab)
    assert {table.name for table in found.tables} >= {"accuracies", "sharpness", "distances"}
    plan = entries("smoke", SEEDS)
    numbers = measure(lab, plan, "smoke", compute=False, progress=None)
    trial = plan[0].trial
    model, train = lab.model(trial), trial.splits()[0]
    risk = gengap.Risk(model, train, dtype=torch.float64)
    first = numbers.sharpness.iloc[0]
    assert (first.regime, first.space, first.epsilon) == (SMALL, FULL, EPSILONS[0])
    assert first.value == keskar_sharpness(risk, epsilon=EPSILONS[0], starts=2).value > 0
    path = numbers.paths[(numbers.paths["kind"] == "line") & (numbers.paths["seed"] == trial.seed)]
    assert len(path) == 2 * 25
    for half in ("train", "test"):
        assert path[(path["half"] == half) & (path["alpha"] == 0)]["accuracy"].item() > 0.9
    again = studies.run("keskar2017", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()


def test_the_numbers_of_a_run_are_those_of_the_epoch_with_the_least_loss():
    columns = ["trial", "part", "epoch", "train_loss", "train_accuracy", "test_loss"]
    rows = [
        ("a", "regimes", 0, 0.1, 0.1, 9.0), ("a", "regimes", 1, 0.5, 0.8, 5.0),
        ("a", "regimes", 2, 0.3, 0.9, 3.0), ("a", "regimes", 3, 0.4, 0.7, 4.0),
        ("b", "begun", 1, 0.2, 0.8, 2.0), ("b", "begun", 2, 0.6, 0.7, 6.0),
    ]  # fmt: skip
    history = pd.DataFrame(rows, columns=columns).assign(test_accuracy=0.5)
    ends = history[history["epoch"] == history.groupby("trial")["epoch"].transform("max")]
    unrun = pd.DataFrame([{"trial": "c", "part": "regimes"}])
    ends = pd.concat([ends, unrun], ignore_index=True)
    found = at_least_loss(Gathered(ends=ends, history=history, seconds=0.0)).set_index("trial")
    assert found.loc["a", ["epoch", "train_loss", "train_accuracy", "test_loss"]].tolist() == [
        *(3, 0.3, 0.9, 3.0),
    ]
    assert found.loc["b", "train_loss"] == 0.6
    assert found.loc["c", ["train_loss", "test_loss"]].isna().all()


def test_figure_5_is_of_the_seeds_of_which_every_start_has_ended():
    """A seed without warm starts would be carried on at its value from the start."""
    network = replace(networks("smoke")[0], warm=(1, 10))
    rows = pd.DataFrame(
        [(0, 0), (0, 1), (0, 10), (1, 0), (2, 0), (2, 1)], columns=["seed", "warm"]
    ).assign(test_accuracy=0.9, sharpness=2.0, what="F1")
    found = _keskar2017_pictures._warm_charts(rows, network, "f1")
    assert len(found) == 2
    assert all("the 1 seeds" in chart.caption for chart in found)
    assert not _keskar2017_pictures._warm_charts(rows[rows["seed"] > 0], network, "f1")
