"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

import pandas as pd
import pytest
import torch

from gengap import studies
from gengap.lab import Lab
from gengap.models import num_parameters, pyramid
from gengap.studies._haloi2017_claims import claims, parameters
from gengap.studies._haloi2017_trials import CONSTANT, DECAYED, FAST, PLANS, RATES, REDUCTIONS, SLOW
from tests.studies.synthetic import changed

PLAN = PLANS["smoke"]
SEEDS = (0, 1)


def made_up():
    rows = []
    for reduction in REDUCTIONS:
        for rate in RATES:
            good = (reduction == SLOW) + 0.5 * (rate == DECAYED)
            numbers = {
                "test_accuracy": 0.7 + 0.1 * good,
                "test_loss": 1 - 0.2 * good,
                "train_loss": 0,
            }
            rows += [
                {"reduction": reduction, "rate": rate, "seed": seed, "status": "stopped", **numbers}
                for seed in SEEDS
            ]
    return pd.DataFrame(rows)


def verdicts(ends):
    return [claim.verdict for claim in claims(ends, PLAN)]


def test_good_numbers_support_every_claim():
    assert verdicts(made_up()) == ["supported"] * 7


@pytest.mark.parametrize(("failing", "column", "value", "where"), [
    ({1}, "test_accuracy", 0.1, {"reduction": SLOW, "rate": CONSTANT}),
    ({2, 4}, "test_accuracy", 0.1, {"reduction": SLOW, "rate": DECAYED}),
    ({3}, "test_accuracy", 0.6, {"reduction": FAST, "rate": DECAYED}),
    ({5}, "test_loss", 3.0, {"reduction": FAST, "rate": DECAYED}),
    ({6}, "test_loss", 3.0, {"reduction": SLOW, "rate": DECAYED}),
])  # fmt: skip
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(failing, column, value, where):
    for seeds, wanted in ((SEEDS, "not supported"), ((0,), "inconclusive")):
        found = verdicts(changed(made_up(), column, value, seeds=seeds, **where))
        assert {place for place, one in enumerate(found) if one == wanted} == failing


@pytest.mark.parametrize("scale", list(PLANS))
def test_every_scale_compares_equal_numbers_of_parameters_and_ends_at_one_size(scale):
    plan = PLANS[scale]
    assert len(set(parameters(plan).values())) == 1
    assert plan.pool_after(FAST) == tuple(range(1, plan.pools + 1))
    assert plan.pool_after(SLOW)[-1] == plan.depth


@pytest.mark.global_rng("torch")
def test_a_pyramid_shrinks_where_it_is_told():
    torch.manual_seed(0)
    model = pyramid((1, 16, 16), 3, width=4, depth=4, pool_after=(2, 3))
    shapes = []
    for module in model:
        module.register_forward_hook(lambda m, _, out: shapes.append((type(m).__name__, out.shape)))
    model(torch.zeros(2, 1, 16, 16))
    sides = [shape[-1] for name, shape in shapes if name == "Conv2d"]
    assert sides == [16, 16, 8, 4]
    assert num_parameters(model) == 40 + 3 * 148 + 15
    with pytest.raises(ValueError, match=r"`pool_after` must be rising .* depth of 4; got \(5,\)"):
        pyramid((1, 16, 16), 3, depth=4, pool_after=(5,))


def test_nothing_run_is_told_as_nothing(tmp_path):
    found = studies.run("haloi2017", "smoke", lab=Lab(tmp_path), train=False)
    assert [claim.verdict for claim in found.claims] == ["supported", *["inconclusive"] * 6]
    assert found.charts == []


@pytest.mark.slow
def test_a_smoke_run_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("haloi2017", "smoke", lab=lab)
    assert [chart.name for chart in found.charts] == ["test-error", "gap"]
    again = studies.run("haloi2017", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
