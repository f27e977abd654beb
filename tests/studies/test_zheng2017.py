"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

from dataclasses import replace

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies._zheng2017_claims import claims
from gengap.studies._zheng2017_numbers import Numbers
from gengap.studies._zheng2017_trials import DECAY, PENALTY, PLAIN, PLANS, SHORTCUTS, VARIANTS
from tests.studies.synthetic import changed

PLAN = PLANS["smoke"]
SEEDS = (0, 1)
LAST = {"epochs": PLAN.epochs[-1]}


def made_up():
    moments, layers = [], []
    for variant in VARIANTS:
        for seed in SEEDS:
            for epochs in PLAN.epochs:
                place = {"variant": variant, "epochs": epochs, "seed": seed}
                small = variant == PLAIN
                residual = 0.001 if small else 0.01
                moments.append({**place, "residual": residual, "relative_residual": residual})
                for layer in (1, 2, 3):
                    layers.append({
                        **place,
                        "layer": layer,
                        "correlation": 0.3 if small else 0.2,
                        "chance": 0.1,
                        "probe_loss": (0.5 if small else 0.4) - 0.05 * layer,
                    })
    return Numbers(moments=pd.DataFrame(moments), layers=pd.DataFrame(layers))


def verdicts(numbers):
    return [claim.verdict for claim in claims(numbers, PLAN)]


def test_good_numbers_support_every_claim():
    assert verdicts(made_up()) == ["supported"] * 7


@pytest.mark.parametrize(("places", "part", "column", "value", "where"), [
    ({0}, "moments", "relative_residual", 0.02, {"variant": PLAIN}),
    ({1}, "moments", "residual", 0.0005, {"variant": DECAY}),
    ({2}, "layers", "probe_loss", 0.3, {"variant": PLAIN, "layer": 1}),
    ({3}, "layers", "probe_loss", 0.6, {"variant": SHORTCUTS, "layer": 3}),
    ({4}, "layers", "chance", -0.5, {"variant": SHORTCUTS}),
    ({5}, "layers", "correlation", 0.9, {"variant": DECAY}),
    ({6}, "layers", "correlation", 0.9, {"variant": PENALTY}),
])  # fmt: skip
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(
    places, part, column, value, where
):
    for seeds, wanted in ((SEEDS, "not supported"), ((0,), "inconclusive")):
        numbers = made_up()
        frame = changed(getattr(numbers, part), column, value, seeds=seeds, **where, **LAST)
        found = verdicts(replace(numbers, **{part: frame}))
        assert {place for place, one in enumerate(found) if one == wanted} == places
        assert found.count("supported") == 7 - len(places)


def test_nothing_run_is_told_as_nothing(tmp_path):
    found = studies.run("zheng2017", "smoke", lab=Lab(tmp_path), train=False)
    assert {claim.verdict for claim in found.claims} == {"inconclusive"}
    assert found.charts == []


@pytest.mark.slow
def test_a_smoke_run_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("zheng2017", "smoke", lab=lab)
    assert len(found.claims) == 7
    names = ["correlation", "probes", "training-plain", "training-shortcuts", "moments"]
    assert [chart.name for chart in found.charts] == names
    again = studies.run("zheng2017", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
