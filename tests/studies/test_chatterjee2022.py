"""Closed form: the example of six weights; the rules of the study on made-up runs; a smoke run."""

import pandas as pd
import pytest
import torch

from gengap import studies
from gengap.lab import Lab
from gengap.studies._chatterjee2022_claims import SIX, claims, six_weight_values
from gengap.studies._chatterjee2022_numbers import agreements, phases, six_weight_runs, stopping
from gengap.studies._chatterjee2022_pictures import charts
from gengap.studies._chatterjee2022_trials import Network, entries, networks, quiet_mlp
from tests.studies.synthetic import changed

SEEDS = (0, 1)
NETS = [
    Network(
        name="A", model="mlp", data="mnist", probe=2000, lr=0.1, epochs=1, examples=9, quiet=True
    ),
    Network(name="B", model="mlp", data="mnist", probe=2000, lr=0.1, epochs=1, examples=9),
]
PATH = {
    "true": {0: 20.0, 5: 20.0, 25: 20.0, 100: 10.0, 200: 5.0, 300: 1.0},
    "random": {0: 1.2, 5: 1.2, 25: 1.2, 100: 9.0, 200: 9.0, 300: 2.0},
}


def made_up_phases():
    ends, probed = [], []
    for net in ("A", "B"):
        for labels, path in PATH.items():
            for seed in SEEDS:
                place = {"part": "coherence", "network": net, "labels": labels, "seed": seed}
                place["trial"] = f"{net} {labels} {seed}"
                ends.append({**place, "status": "fitted", "train_accuracy": 1, "test_accuracy": 1})
                for step, value in path.items():
                    row = {**place, "step": step, "group": "all", "m_coherence": value}
                    probed.append(row)
    return phases(pd.DataFrame(ends), pd.DataFrame(probed))


def made_up_stopping():
    rows = [
        {
            "part": "stopping",
            "trial": str(seed),
            "seed": seed,
            "epoch": epoch,
            "test_accuracy": test,
            "clean_accuracy": 0.9,
            "corrupted_accuracy": corrupted,
            "status": "fitted",
        }
        for seed in SEEDS
        for epoch, (test, corrupted) in enumerate([(0.1, 0.1), (0.9, 0.2), (0.6, 1.0)])
    ]
    history = pd.DataFrame(rows)
    return stopping(history.groupby("trial").last().reset_index(), history)


def made_up_agreements():
    rows = [
        {
            "first": "A",
            "second": "B",
            "labels": labels,
            "kind": "two networks",
            "seed": seed,
            "correlation": 0.5,
        }
        for labels in ("true", "random")
        for seed in SEEDS
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_every_network_has_a_chart_whose_name_can_be_a_file(scale):
    names = [network.name for network in networks(scale)]
    place = {"part": "coherence", "group": "all", "labels": "true", "seed": 0}
    probed = pd.DataFrame([
        {**place, "network": name, "step": step, "m_coherence": 2.0}
        for name in names
        for step in (1, 2)
    ])
    drawn = [chart.name for chart in charts(probed, pd.DataFrame(), names)]
    assert len(set(drawn)) == len(names)


def verdicts(told, stopped, agreed):
    found = claims(told, stopped, agreed, six_weight_runs(), NETS)
    return {claim.name: claim.verdict for claim in found}


def test_the_example_of_six_weights_is_exact():
    found = six_weight_values(six_weight_runs())
    assert found["real"] == pytest.approx(SIX["real"], abs=1e-12)
    assert found["random"] == pytest.approx(SIX["random"], abs=1e-12)
    assert SIX["real"]["alpha"] == 0.625
    assert SIX["random"]["alpha"] == 0.25
    assert (SIX["real"]["test_loss"], SIX["random"]["test_loss"]) == (0.02, 0.5)


def test_all_claims_hold_on_runs_that_keep_every_rule():
    found = verdicts(made_up_phases(), made_up_stopping(), made_up_agreements())
    assert set(found.values()) == {"supported"}, found


BREAK = {
    "true labels cohere early (A)": (0, "early", 9.0, {"network": "A", "labels": "true"}),
    "true labels cohere early (B)": (0, "early", 2.0, {"network": "B", "labels": "true"}),
    "random labels start orthogonal (A)": (0, "at_first", 1.7, {"labels": "random"}),
    "random labels come to cohere while they are fitted (A)": (
        0,
        "last",
        7.0,
        {"labels": "random"},
    ),
    "early stopping keeps what coheres": (1, "corrupted_at_best", 0.3, {}),
    "A and B learn the same examples first": (2, "correlation", 0.1, {"labels": "true"}),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_claim_falls_when_its_rule_is_broken_in_every_seed_and_is_open_in_one(name):
    place, column, value, where = BREAK[name]
    for seeds, expected in ((SEEDS, "not supported"), ((1,), "inconclusive")):
        frames = [made_up_phases(), made_up_stopping(), made_up_agreements()]
        frames[place] = changed(frames[place], column, value, seeds=seeds, **where)
        assert verdicts(*frames)[name] == expected


def test_phases_are_read_from_the_probes():
    row = made_up_phases().set_index(["network", "labels", "seed"]).loc[("A", "random", 0)]
    assert (row["start"], row["early"], row["at_first"], row["last"]) == (1.2, 1.2, 1.2, 2.0)
    assert row["peak"] == pytest.approx((9 + 9 + 2) / 3)
    best = made_up_stopping().iloc[0]
    assert (best["epoch"], best["best"], best["end"]) == (1, 0.9, 0.6)


def test_agreement_is_the_rank_correlation_of_when_examples_are_learned():
    plan = [e for e in entries("smoke", SEEDS) if e.place["labels"] in ("true", "random")]
    times = {"MLP 1x128": [1.0, 2.0, 3.0, None], "MLP 2x64": [10.0, 30.0, 20.0, None]}
    found = agreements(
        [
            (e, pd.DataFrame({"example": range(4), "last_learned": times[e.place["network"]]}))
            for e in plan
        ],
        "smoke",
    )
    same = found[found["kind"] == "two seeds"]
    assert (same["correlation"] == 1).all()
    assert set(same["labels"]) == {"true"}
    other = found[(found["kind"] == "two networks") & (found["labels"] == "true")]
    assert len(other) == 4
    assert other["correlation"].tolist() == pytest.approx([0.8] * 4)
    assert len(found[found["labels"] == "random"]) == 2


@pytest.mark.global_rng("torch")
def test_the_quiet_perceptron_starts_from_pytorchs_weights():
    first = networks("small")[0]
    assert first.quiet
    trial = first.trial(0)
    assert trial.spec["data"]["preprocessing"] == "pixels in [0, 1]"
    split = type("Of", (), {"input_shape": (1, 28, 28), "num_classes": 10})
    model = quiet_mlp((512,)).builder(split)()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert layers[0].weight.abs().max() <= 1 / 28
    assert layers[0].bias.abs().max() > 0


@pytest.mark.parametrize("scale", ["smoke", "small", "paper"])
def test_a_page_without_any_run_lists_every_network(scale, tmp_path):
    result = studies.run("chatterjee2022", scale, lab=Lab(tmp_path / "none"), train=False)
    assert len(result.tables[1].frame) == 2 * len(networks(scale))
    kept = {claim.name for claim in result.claims if claim.verdict == "supported"}
    assert kept == {"the example of six weights"}
    assert result.charts == []
    assert all(sentence.endswith(".") for sentence in result.deviations)


@pytest.mark.slow
def test_smoke_supports_the_paper_on_digits(tmp_path):
    result = studies.run("chatterjee2022", lab=Lab(tmp_path), seeds=(0, 1))
    assert not result.refuted
    names = [chart.name for chart in result.charts]
    assert names == [
        *("m-coherence-mlp-1x128", "m-coherence-mlp-2x64", "stopping", "stopping-coherence")
    ]
