"""Closed form: the numbers and rules of Chatterjee (2020) on made-up runs; one smoke run."""

import math

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies import chatterjee2020
from gengap.studies._chatterjee2020_claims import claims
from gengap.studies._chatterjee2020_numbers import (
    memorizing,
    overfit,
    share_numbers,
    speeds,
    with_overfit,
)
from gengap.studies._chatterjee2020_trials import (
    ALL_DIGITS,
    SOME_DIGITS,
    allowance,
    cells,
    entries,
    proper_accuracy,
    share_noise,
    share_trial,
    trial,
)
from gengap.studies._gather import Gathered
from gengap.studies.chatterjee2020 import _ALWAYS, _AT
from gengap.training import Constant, Step
from tests.studies.synthetic import changed

SEEDS = (0, 1)


def made_up_history(seeds=SEEDS):
    """Return histories in which every rule is kept: c of 2 and more stop at the proper accuracy."""
    rows = []
    for entry in entries("small", seeds):
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
                place["trial"] = share_trial(noise, "small", seed).id
                part = 1 - 0.9 * noise
                rows += [
                    {**place, "group": "all", "examples": 1000, "share": 1.0},
                    {**place, "group": "clean", "examples": 1000 * part, "share": share},
                ]
    return pd.DataFrame(rows)


def made_up_worlds():
    """Return 40 worlds whose shares lie 0.04 about the part of pristine examples, not moving."""
    shares = made_up_shares()
    own = shares[shares["group"] == "clean"]
    part = own["examples"] / 1000
    worlds = [own.assign(world=w, share=part + 0.001 * (2 * w - 39)) for w in range(40)]
    return pd.concat(worlds, ignore_index=True)


def verdicts(ends, history, shares, worlds):
    rows = with_overfit(ends, history, 10_000)
    on_all = with_overfit(ends, history, 60_000, part=ALL_DIGITS)
    found = claims(rows, on_all, speeds(history), share_numbers(shares, worlds, history))
    return {claim.name: claim.verdict for claim in found}


def test_all_claims_hold_on_runs_that_keep_every_rule():
    history = made_up_history()
    found = verdicts(made_up_ends(history), history, made_up_shares(), made_up_worlds())
    assert set(found.values()) == {"supported"}, found


BREAK = {
    "SGD memorizes": ("ends", "train_accuracy", 0.999, {"clip": 0, "noise": 0.5}),
    "winsorized SGD does not memorize": (
        "history",
        "train_accuracy",
        0.57,
        {"part": SOME_DIGITS, "clip": 4, "noise": 0.5, "epoch": 2},
    ),
    "winsorized SGD does not memorize, all digits": (
        "history",
        "train_accuracy",
        0.556,
        {"part": ALL_DIGITS, "clip": 2, "epoch": 2},
    ),
    "winsorized SGD ends above SGD": (
        "ends",
        "test_accuracy",
        0.63,
        {"part": SOME_DIGITS, "clip": 8, "noise": 0.5},
    ),
    "winsorized SGD ends above SGD, all digits": (
        "ends",
        "test_accuracy",
        0.63,
        {"part": ALL_DIGITS, "clip": 4},
    ),
    "one c keeps SGD from memorizing": (
        "ends",
        "test_accuracy",
        0.63,
        {"part": SOME_DIGITS, "noise": 0.5},
    ),
    "one c keeps SGD from memorizing, all digits": (
        "history",
        "train_accuracy",
        0.556,
        {"part": ALL_DIGITS, "epoch": 2},
    ),
    "overfit falls with c": ("ends", "train_accuracy", 0.99, {"clip": 8, "noise": 0.5}),
    "large c hurts the fit": ("ends", "best_test_accuracy", 0.95, {"clip": 8, "noise": 0.5}),
    "pristine examples are learned as without noise, corrupt ones as at 100 %": (
        "history",
        "corrupted_accuracy",
        lambda values: values**0.5,
        {"noise": 0.75, "part": "shares"},
    ),
    "the pristine share crosses the corrupt one": (
        "shares",
        "share",
        lambda values: values.clip(lower=0.51),
        {"group": "clean", "noise": 0.5},
    ),
    "the gradient passes from the pristine to the corrupt": (
        "shares",
        "share",
        lambda values: values.clip(lower=0.29),
        {"group": "clean", "noise": 0.75},
    ),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_claim_falls_when_its_rule_is_broken_in_every_seed_and_is_open_in_one(name):
    history = made_up_history()
    frames = {
        "ends": made_up_ends(history),
        "history": history,
        "shares": made_up_shares(),
        "worlds": made_up_worlds(),
    }
    where, column, value, rows = BREAK[name]
    for seeds, expected in (((0, 1), "not supported"), ((1,), "inconclusive")):
        broken = {**frames, where: changed(frames[where], column, value, seeds=seeds, **rows)}
        assert verdicts(**broken)[name] == expected


OF_SOME = {"part": SOME_DIGITS, "noise": 0.5}
EDGES = {
    "SGD memorizes": ("test_accuracy", 0.7499, 0.7501, {"clip": 0}),
    "winsorized SGD ends above SGD": ("test_accuracy", 0.6501, 0.6499, {"clip": 8}),
    # At c = 4 the overfit is 0.55 - 0.05 - 0.896 / 2 = 0.052.
    "overfit falls with c": ("train_accuracy", 0.5579, 0.5581, {"clip": 8}),
    "large c hurts the fit": ("best_test_accuracy", 0.8979, 0.9 - 0.001 * 2, {"clip": 8}),
}


@pytest.mark.parametrize("name", EDGES)
def test_a_claim_holds_up_to_the_edge_that_its_rule_names(name):
    history = made_up_history()
    ends, rest = made_up_ends(history), (history, made_up_shares(), made_up_worlds())
    column, kept, broken, where = EDGES[name]
    for value, expected in ((kept, "supported"), (broken, "not supported")):
        edge = changed(ends, column, value, **OF_SOME, **where)
        assert verdicts(edge, *rest)[name] == expected


def of_sgd_and_clipping(ends, history):
    rows = with_overfit(ends, history, 10_000)
    return {c.name: c for c in claims(rows, rows[:0], speeds(history[:0]), pd.DataFrame())}


def test_the_largest_excess_over_the_proper_accuracy_is_told():
    history = made_up_history()
    high = changed(history, "train_accuracy", 0.57, **OF_SOME, clip=4, epoch=2)
    found = of_sgd_and_clipping(made_up_ends(history), high)["winsorized SGD does not memorize"]
    assert found.ours == "2.00 ± 0.00 points"


@pytest.mark.parametrize("largest", [0, 2])
def test_of_a_c_that_no_run_has_ended_with_nothing_is_said(largest):
    history = made_up_history()
    ends = made_up_ends(history)
    ends.loc[ends["clip"] > largest, "status"] = "not run"
    found = of_sgd_and_clipping(ends, history)
    assert found["large c hurts the fit"].verdict == "inconclusive"
    falls = "supported" if largest else "inconclusive"
    assert found["overfit falls with c"].verdict == falls


@pytest.mark.parametrize("clip", [0, 8])
def test_a_seed_of_which_not_all_has_ended_is_not_compared(clip):
    history = made_up_history(seeds=(0, 1, 2))
    ends = changed(
        made_up_ends(history), "status", "not run", seeds=(2,), part=SOME_DIGITS, clip=clip
    )
    found = of_sgd_and_clipping(ends, history)
    assert {claim.verdict for claim in list(found.values())[:6]} == {"supported"}


def test_one_c_is_open_where_it_does_both_in_one_seed():
    history = made_up_history()
    ends = changed(made_up_ends(history), "test_accuracy", 0.63, **OF_SOME, clip=2)
    ends = changed(ends, "test_accuracy", 0.63, **OF_SOME, clip=8)
    ends = changed(ends, "test_accuracy", 0.63, **OF_SOME, clip=4, seeds=(1,))
    found = of_sgd_and_clipping(ends, history)
    assert found["one c keeps SGD from memorizing"].verdict == "inconclusive"


def test_distances_go_over_the_epochs_of_the_longer_run():
    """SGD without noise ends after one epoch and keeps its accuracy of 1."""
    curves = {0.0: [0.5, 1.0], 0.5: [0.9, 0.8, 0.9], 1.0: [0.1, 0.2, 0.4, 0.6]}
    corrupt = {0.5: [0.9, 0.1, 0.5]}
    history = pd.DataFrame([
        {
            "part": "shares",
            "seed": seed,
            "noise": noise,
            "epoch": epoch,
            "train_accuracy": value,
            "clean_accuracy": value,
            "corrupted_accuracy": corrupt.get(noise, curves[noise])[epoch],
        }
        for seed in SEEDS
        for noise, values in curves.items()
        for epoch, value in enumerate(values)
    ])
    row = speeds(history[(history["seed"] == 0) | (history["noise"] > 0)])
    assert row["seed"].tolist() == [0]
    assert row.iloc[0].to_dict() == pytest.approx({
        "seed": 0,
        "noise": 0.5,
        "pristine_to_0": (0.2 + 0.1) / 2,
        "pristine_to_100": (0.6 + 0.5 + 0.3) / 3,
        "corrupt_to_0": (0.9 + 0.5) / 2,
        "corrupt_to_100": (0.1 + 0.1 + 0.1) / 3,
    })


@pytest.mark.parametrize(("curve", "other"), [("pristine", "0"), ("corrupt", "100")])
@pytest.mark.parametrize(("distance", "expected"), [(0.19, "supported"), (0.2, "not supported")])
def test_a_curve_is_nearer_to_one_of_two(curve, other, distance, expected):
    history = made_up_history()
    near = {"pristine_to_0": 0.1, "pristine_to_100": 0.2}
    near |= {"corrupt_to_0": 0.2, "corrupt_to_100": 0.1, f"{curve}_to_{other}": distance}
    told = pd.DataFrame([{"seed": seed, "noise": 0.5, **near} for seed in SEEDS])
    rows = with_overfit(made_up_ends(history), history, 10_000)
    found = {c.name: c.verdict for c in claims(rows, rows[:0], told, pd.DataFrame())}
    (name,) = [name for name in found if name.startswith("pristine examples are learned")]
    assert found[name] == expected


CROSSES = "the pristine share crosses the corrupt one"
PASSES = "the gradient passes from the pristine to the corrupt"


@pytest.mark.parametrize(
    ("noise", "share", "expected"),
    [
        (0.25, 0.815, {PASSES: "supported", CROSSES: "supported"}),
        (0.25, 0.813, {PASSES: "not supported", CROSSES: "supported"}),  # a null world has 0.814
        (0.5, 0.51, {PASSES: "not supported", CROSSES: "supported"}),
        (0.5, 0.49, {PASSES: "not supported", CROSSES: "not supported"}),
    ],
)
def test_early_the_share_is_above_all_null_worlds_and_above_a_half(noise, share, expected):
    history, shares = made_up_history(), made_up_shares()
    early = (shares["group"] == "clean") & shares["step"].between(1, 25)
    shares.loc[early & (shares["noise"] == noise), "share"] = share
    found = verdicts(made_up_ends(history), history, shares, made_up_worlds())
    assert {name: found[name] for name in expected} == expected


def test_only_half_of_the_labels_redrawn_are_asked_for_a_crossing():
    history = made_up_history()
    shares = changed(made_up_shares(), "share", 0.9, group="clean", noise=0.25)
    found = verdicts(made_up_ends(history), history, shares, made_up_worlds())
    assert (found[CROSSES], found[PASSES]) == ("supported", "not supported")


def test_a_run_stands_beside_the_null_worlds_of_its_own_seed():
    null = changed(made_up_worlds(), "share", lambda values: values - 0.1, seeds=(1,))
    found = share_numbers(made_up_shares(), null, made_up_history()).set_index(["noise", "seed"])
    assert found.loc[(0.25, 0), "null_early"] == pytest.approx((0.736, 0.814))
    assert found.loc[(0.25, 1), "null_early"] == pytest.approx((0.636, 0.714))


def test_one_c_that_does_both_is_enough_and_is_named():
    history = made_up_history()
    ends = changed(made_up_ends(history), "test_accuracy", 0.63, clip=2, noise=0.5)
    rows = with_overfit(ends, history, 10_000)
    found = {c.name: c for c in claims(rows, rows[:0], speeds(history), pd.DataFrame())}
    assert found["winsorized SGD ends above SGD"].verdict == "not supported"
    assert found["one c keeps SGD from memorizing"].verdict == "supported"
    assert "c = 4 and 8" in found["one c keeps SGD from memorizing"].sentence


@pytest.mark.parametrize(("worlds", "expected"), [(2, "supported"), (3, "not supported")])
def test_null_worlds_may_cross_in_one_of_twenty_and_not_more(worlds, expected):
    """Of 40 worlds so many lose most of the gradient late: up to 5 % is chance."""
    history, null = made_up_history(), made_up_worlds()
    crossing = (null["world"] < worlds) & (null["noise"] == 0.5) & (null["step"] > 200)
    null.loc[crossing, "share"] = 0.49
    found = verdicts(made_up_ends(history), history, made_up_shares(), null)
    assert found["the pristine share crosses the corrupt one"] == expected
    assert found["the gradient passes from the pristine to the corrupt"] == "supported"


def test_overfit_is_zero_for_who_predicts_every_true_label():
    noise = pd.Series([0.0, 0.5, 1.0])
    assert [proper_accuracy(p) for p in noise] == [1.0, 0.55, pytest.approx(0.1)]
    proper = noise.map(proper_accuracy)
    assert overfit(proper, pd.Series([1.0, 1.0, 1.0]), noise).tolist() == pytest.approx([0, 0, 0])
    assert overfit(pd.Series([1.0]), pd.Series([0.6]), pd.Series([0.5]))[0] == pytest.approx(0.65)


def test_the_draw_of_the_labels_is_allowed_for():
    """Two standard deviations of a share of 0.55 among 10,000."""
    assert allowance(0.5, 10_000) == pytest.approx(2 * (0.55 * 0.45 / 10_000) ** 0.5)
    assert allowance(0.0, 400) == 0


def test_the_share_crosses_where_the_mean_of_five_measurements_falls_below_a_half():
    row = share_numbers(made_up_shares(), made_up_worlds(), made_up_history()).iloc[0]
    assert row["pristine"] == pytest.approx(0.775)
    assert row["crossed"] == 110  # 0.9 - 0.005 s below 0.5 from s = 80, two measurements' lag
    assert row["early"] == pytest.approx(0.9 - 0.005 * 13)
    assert row["late"] == pytest.approx(0.15)
    assert row["crosses"]
    assert row["null_early"] == pytest.approx((0.736, 0.814))
    assert row["null_late"] == pytest.approx((0.736, 0.814))
    assert row["null_crosses"] == 0
    flat = changed(made_up_shares(), "share", 0.9, group="clean")
    never = share_numbers(flat, made_up_worlds(), made_up_history()).iloc[0]
    assert math.isinf(never["crossed"])
    assert not never["crosses"]


def test_labels_are_memorized_from_the_proper_accuracy_to_99_percent():
    steps, train = [0, 10, 20, 30, 40, 50], [0.1, 0.55, 0.56, 0.98, 0.99, 1.0]
    history = pd.DataFrame({"step": steps, "train_accuracy": train})
    assert memorizing(history, 0.5) == (20, 40)
    assert memorizing(history[:4], 0.5) == (20, 30)  # as long as the run goes
    assert all(map(math.isnan, memorizing(history[:2], 0.5)))


def test_plain_sgd_carries_the_probes_and_winsorized_sgd_its_percentile():
    sgd, clipped = share_trial(0.5, "small", 0), trial(0.5, 4, "small", 0)
    assert trial(0.5, 0, "small", 0).probes is None
    assert trial(0.5, 0, "smoke", 0).id == share_trial(0.5, "smoke", 0).id
    assert sgd.probes.null_worlds == 100
    assert clipped.probes is None
    assert clipped.recipe.optimizer == "winsorized_sgd"
    assert (clipped.recipe.clip_percent, clipped.recipe.momentum) == (4.0, 0.0)
    assert (clipped.recipe.lr, sgd.recipe.lr) == (0.3, 0.1)
    assert clipped.recipe.schedule == Step(milestones=(100,))
    assert sgd.recipe.schedule == Constant()
    assert len(cells("paper")) == 25
    assert len(cells("small")) == 13
    assert share_noise("small") == (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(("part", "most"), [(SOME_DIGITS, 0.5599), (ALL_DIGITS, 0.5540)])
def test_each_part_is_allowed_the_draw_of_its_own_number_of_examples(
    part, most, tmp_path, monkeypatch
):
    """Of 10,000 labels 0.995 points, of 60,000 0.406."""
    monkeypatch.setattr(chatterjee2020, "charts", lambda *frames: [])
    monkeypatch.setattr(chatterjee2020, "coherence_of", lambda *args: made_up_shares())
    monkeypatch.setattr(chatterjee2020, "null_worlds_of", lambda *args: made_up_worlds())
    history = made_up_history()
    where = {"part": part, "clip": 2, "noise": 0.5, "epoch": 2}
    name = f"winsorized SGD does not memorize{', all digits' * (part == ALL_DIGITS)}"
    for train, expected in ((most, "supported"), (most + 0.0002, "not supported")):
        high = changed(history, "train_accuracy", train, **where)
        found = Gathered(ends=made_up_ends(history), history=high, seconds=0.0)
        monkeypatch.setattr(chatterjee2020, "gather", lambda *args, found=found, **how: found)
        result = studies.run("chatterjee2020", "small", lab=Lab(tmp_path))
        assert {claim.name: claim.verdict for claim in result.claims}[name] == expected


@pytest.mark.parametrize(("scale", "trials"), [("smoke", 15), ("small", 44), ("paper", 90)])
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
