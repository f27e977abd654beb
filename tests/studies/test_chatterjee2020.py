"""Closed form: the numbers and rules of Chatterjee (2020) on made-up runs; one smoke run."""

import math

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies._chatterjee2020_claims import claims
from gengap.studies._chatterjee2020_numbers import overfit, share_numbers, speeds, with_overfit
from gengap.studies._chatterjee2020_trials import (
    allowance,
    cells,
    entries,
    proper_accuracy,
    share_noise,
    trial,
)
from gengap.studies.chatterjee2020 import _ALWAYS, _AT
from tests.studies.synthetic import changed

SEEDS = (0, 1)


def made_up_history():
    """Return histories in which every rule is kept: c of 2 and more stop at the proper accuracy."""
    rows = []
    for entry in entries("small", SEEDS):
        noise, clip = entry.place["noise"], entry.place["clip"]
        best = 0.9 - 0.001 * clip
        shared = {**entry.place, "trial": entry.trial.id, "seed": entry.trial.seed}
        for epoch in range(4):
            done = epoch / 3
            fits = 1.0 if clip < 2 else proper_accuracy(noise)
            rows.append({
                **shared,
                "epoch": epoch,
                "step": 100 * epoch,
                "train_accuracy": (done if noise < 1 or clip else done**2) * fits,
                "clean_accuracy": done,
                "corrupted_accuracy": done**2,
                "test_accuracy": best if epoch < 3 or clip > 1 else best - 0.4 * (noise > 0),
            })
    return pd.DataFrame(rows)


def made_up_ends(history):
    last = history.groupby(["part", "trial"], sort=False).last().reset_index()
    best = history.groupby("trial")["test_accuracy"].max()
    return last.assign(best_test_accuracy=last["trial"].map(best), status="stopped", reason="")


def made_up_shares():
    rows = []
    for noise in (0.25, 0.5, 0.75):
        for seed in SEEDS:
            for step in (0, *range(1, 31), *range(40, 301, 10)):
                share = 0.9 - 0.75 * min(1.0, step / 150)
                place = {"part": "shares", "noise": noise, "seed": seed, "step": step}
                part = 1 - 0.9 * noise
                null = {"null_lowest": part - 0.05, "null_highest": part + 0.05}
                rows += [
                    {**place, "group": "all", "examples": 1000, "share": 1.0},
                    {**place, "group": "clean", "examples": 1000 * part, "share": share, **null},
                ]
    return pd.DataFrame(rows)


def verdicts(ends, history, shares):
    rows = with_overfit(ends, history, "small")
    found = claims(rows, speeds(history), share_numbers(shares))
    return {claim.name: claim.verdict for claim in found}


def test_all_claims_hold_on_runs_that_keep_every_rule():
    history = made_up_history()
    found = verdicts(made_up_ends(history), history, made_up_shares())
    assert set(found.values()) == {"supported"}, found


BREAK = {
    "SGD memorizes": ("ends", "train_accuracy", 0.999, {"clip": 0, "noise": 0.5}),
    "winsorized SGD does not memorize": (
        "history",
        "train_accuracy",
        0.57,
        {"clip": 4, "noise": 0.5, "epoch": 2},
    ),
    "winsorized SGD ends above SGD": ("ends", "test_accuracy", 0.63, {"clip": 8, "noise": 0.5}),
    "overfit falls with c": ("ends", "train_accuracy", 0.99, {"clip": 8, "noise": 0.5}),
    "large c hurts the fit": ("ends", "best_test_accuracy", 0.95, {"clip": 8, "noise": 0.5}),
    "pristine examples are learned as without noise, corrupt ones as at 100 %": (
        "history",
        "corrupted_accuracy",
        lambda values: values**0.5,
        {"noise": 0.75, "part": "shares"},
    ),
    "the gradient passes from the pristine to the corrupt": (
        "shares",
        "share",
        0.9,
        {"group": "clean", "noise": 0.25},
    ),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_claim_falls_when_its_rule_is_broken_in_every_seed_and_is_open_in_one(name):
    history = made_up_history()
    frames = {"history": history, "ends": made_up_ends(history), "shares": made_up_shares()}
    where, column, value, rows = BREAK[name]
    for seeds, expected in (((0, 1), "not supported"), ((1,), "inconclusive")):
        broken = {**frames, where: changed(frames[where], column, value, seeds=seeds, **rows)}
        assert verdicts(broken["ends"], broken["history"], broken["shares"])[name] == expected


def test_overfit_is_zero_for_who_predicts_every_true_label():
    noise = pd.Series([0.0, 0.5, 1.0])
    assert [proper_accuracy(p) for p in noise] == [1.0, 0.55, pytest.approx(0.1)]
    proper = noise.map(proper_accuracy)
    assert overfit(proper, pd.Series([1.0, 1.0, 1.0]), noise).tolist() == pytest.approx([0, 0, 0])
    assert overfit(pd.Series([1.0]), pd.Series([0.6]), pd.Series([0.5]))[0] == pytest.approx(0.65)


def test_the_draw_of_the_labels_is_allowed_for():
    """Two standard deviations of a share of 0.55 among 10,000."""
    assert allowance(0.5, "small") == pytest.approx(2 * (0.55 * 0.45 / 10_000) ** 0.5)
    assert allowance(0.0, "smoke") == 0


def test_the_share_crosses_where_the_mean_of_five_measurements_falls_below_a_half():
    row = share_numbers(made_up_shares()).iloc[0]
    assert row["pristine"] == pytest.approx(0.775)
    assert row["crossed"] == 110  # 0.9 - 0.005 s below 0.5 from s = 80, two measurements' lag
    assert row["early"] == pytest.approx(0.9 - 0.005 * 13)
    assert row["late"] == pytest.approx(0.15)
    flat = changed(made_up_shares(), "share", 0.9, group="clean")
    assert math.isinf(share_numbers(flat).iloc[0]["crossed"])


def test_plain_sgd_carries_the_probes_and_winsorized_sgd_its_percentile():
    sgd, clipped = trial(0.5, 0, "small", 0), trial(0.5, 4, "small", 0)
    assert sgd.probes.null_worlds == 20
    assert clipped.probes is None
    assert clipped.recipe.optimizer == "winsorized_sgd"
    assert (clipped.recipe.clip_percent, clipped.recipe.momentum) == (4.0, 0.0)
    assert len(cells("paper")) == 25
    assert len(cells("small")) == 13
    assert share_noise("small") == (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(("scale", "trials"), [("smoke", 15), ("small", 26), ("paper", 90)])
def test_a_page_without_any_run_lists_everything(scale, trials, tmp_path):
    result = studies.run("chatterjee2020", scale, lab=Lab(tmp_path / "none"), train=False)
    assert f"0 of {trials} trials" in result.cost
    assert {claim.verdict for claim in result.claims} == {"inconclusive"}
    assert len(result.tables[0].frame) == len(cells(scale))
    assert result.charts == []
    assert "not run" in result.markdown()
    said = [*_AT[scale], *_ALWAYS]
    assert all(sentence.endswith(".") for sentence in said)


@pytest.mark.slow
def test_smoke_shows_memorization_and_who_has_the_gradient(tmp_path):
    result = studies.run("chatterjee2020", lab=Lab(tmp_path), seeds=(0, 1))
    found = {claim.name: claim.verdict for claim in result.claims}
    for name in (
        "SGD memorizes",
        "winsorized SGD ends above SGD",
        "overfit falls with c",
        "the gradient passes from the pristine to the corrupt",
    ):
        assert found[name] == "supported", found  # the others take more than 400 digits
    assert [chart.name for chart in result.charts] == [
        *("train-accuracy", "test-accuracy", "overfit", "shares-50", "learning-speed"),
    ]
