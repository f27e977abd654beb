"""Closed form against simulation, within its interval; limits of the closed form by hand."""

import itertools
import math

import pytest

from gengap.kernels import LinearDescent

WELL = LinearDescent(examples=20, noise=0.7, signal=1.3)
MISSED = LinearDescent(examples=20, noise=0.4, signal=2.0, dimensions=80)


@pytest.mark.parametrize("model", [WELL, MISSED])
@pytest.mark.parametrize("features", [1, 6, 12, 15, 25, 32, 50, 80])
def test_the_simulation_meets_the_closed_form(model, features):
    found = model.simulate(features, repetitions=400, seed=1)
    low, high = found.interval(0.999)
    assert low < model.risk(features) < high
    assert found.standard_error < 0.12 * found.value


def test_limits_by_hand():
    assert WELL.risk(0) == 0  # nothing is there to be fitted
    assert MISSED.risk(0) == pytest.approx(4.0)
    assert WELL.risk(9) == pytest.approx(0.49 * 9 / 10)  # unbiased: the variance alone
    quiet = LinearDescent(examples=20, noise=0.0, signal=1.0)
    assert quiet.risk(15) == 0
    assert quiet.risk(40) == pytest.approx(0.5)  # half of the coefficients' length is seen
    assert quiet.simulate(20, repetitions=5).value < 1e-10
    assert WELL.risk(10**9) == pytest.approx(1.3**2, rel=1e-6)  # the zero function


def test_the_risk_descends_twice():
    risks = [MISSED.risk(p) for p in range(81)]
    assert [p for p, risk in enumerate(risks) if math.isinf(risk)] == [19, 20, 21]
    assert risks[1:19] != sorted(risks[1:19], reverse=True)  # up before the threshold
    assert all(after < before for before, after in itertools.pairwise(risks[22:60]))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: LinearDescent(examples=0), "`examples` must be a whole number of at least 1"),
        (lambda: LinearDescent(examples=3, noise=-1.0), "`noise` must be at least 0 and finite"),
        (lambda: MISSED.risk(81), "`features` must be at most the 80 dimensions; got 81."),
        (lambda: WELL.simulate(3, repetitions=1), "`repetitions` must be .* at least 2; got 1"),
    ],
)
def test_wrong_settings_are_told(made, said):
    with pytest.raises(ValueError, match=said):
        made()
