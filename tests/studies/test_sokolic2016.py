"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies._sokolic2016_claims import claims
from gengap.studies._sokolic2016_trials import FULL, PLAIN, PLANS, kernel_name

PLAN = PLANS["smoke"]
NAMES = [FULL, *map(kernel_name, PLAN.kernels)]


def made_up(seeds=(0, 1)):
    numbers = dict(zip(NAMES, (0.9, 0.4, 0.6), strict=True))
    complexities = pd.DataFrame([
        {
            "network": n,
            "seed": s,
            "value": v,
            "standard_error": 0.01,
            "bound": 5 * v,
            "positions": 4,
        }
        for n, v in numbers.items()
        for s in seeds
    ])
    ends = pd.DataFrame([
        {
            "network": network,
            "penalty": penalty,
            "seed": seed,
            "status": "stopped",
            "test_accuracy": 0.8 + 0.1 * (network != FULL) + 0.02 * (penalty != PLAIN),
            "coherence": 0.5 - 0.2 * (penalty != PLAIN),
        }
        for network in (FULL, kernel_name(3))
        for penalty in (PLAIN, "0.3")
        for seed in seeds
    ])
    return ends, complexities


def verdicts(ends, complexities):
    return [claim.verdict for claim in claims(ends, complexities, PLAN)]


def test_the_papers_claims_are_supported_by_numbers_that_support_them():
    assert verdicts(*made_up()) == ["supported"] * 7
    assert verdicts(*made_up(seeds=(0,))) == ["inconclusive"] * 7


@pytest.mark.parametrize(
    ("place", "column", "network", "value"),
    [
        (0, "value", NAMES[1], 2.0),
        (1, "value", NAMES[2], 0.1),
        (2, "bound", NAMES[2], 0.9),
        (3, "bound", NAMES[0], 0.5),
    ],
)
def test_every_rule_on_complexities_can_fail(place, column, network, value):
    ends, complexities = made_up()
    complexities.loc[complexities["network"] == network, column] = value
    assert verdicts(ends, complexities)[place] == "not supported"


@pytest.mark.parametrize(
    ("place", "column", "value"), [(5, "coherence", 0.9), (6, "test_accuracy", 0.1)]
)
def test_every_rule_on_the_penalty_can_fail(place, column, value):
    ends, complexities = made_up()
    ends.loc[ends["penalty"] != PLAIN, column] = value
    assert verdicts(ends, complexities)[place] == "not supported"
    ends.loc[(ends["penalty"] == PLAIN) & (ends["network"] != FULL), "test_accuracy"] = 0.1
    assert verdicts(ends, complexities)[4] == "not supported"


@pytest.mark.slow
def test_a_smoke_run_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=1)
    found = studies.run("sokolic2016", "smoke", lab=lab)
    by_name = {claim.name: claim for claim in found.claims}
    assert by_name["bounds hold"].verdict == "supported"
    assert by_name["the penalty lowers the coherence"].verdict == "supported"
    assert [chart.name for chart in found.charts] == ["complexity", "penalty"]
    again = studies.run("sokolic2016", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
