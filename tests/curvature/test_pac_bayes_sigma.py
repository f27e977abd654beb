"""Closed form: the noise that a quadratic, and a threshold, bear; property: rescaling."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from gengap import Risk
from gengap.curvature import pac_bayes_sigma
from gengap.data import Split
from tests.curvature.quadratic import FIRST, SECOND, network, regression, rescaled


def test_the_noise_that_raises_a_quadratic_by_so_much():
    risk, hessian = regression(p=5, noise=0.3)
    wanted = math.sqrt(2 * 0.05 / np.trace(hessian))
    found = pac_bayes_sigma(risk, harm=0.05, of="loss", draws=50)
    assert found.standard_error < 0.3 * wanted
    assert abs(found.value - wanted) < 4 * found.standard_error
    assert found.harm == pytest.approx(0.05, rel=0.02)
    assert found.sharpness == pytest.approx(1 / found.value**2)
    w = risk.params["weight"].numpy().ravel()
    for epsilon in (0.0, 0.05):
        rest = 0.05 - 0.5 * epsilon**2 * np.trace(hessian)
        wanted = math.sqrt(2 * rest / np.sum(w**2 * np.diag(hessian)))
        options = {"magnitude_aware": True, "epsilon": epsilon, "draws": 50}
        found = pac_bayes_sigma(risk, harm=0.05, of="loss", **options)
        assert abs(found.value - wanted) < 4 * found.standard_error < 0.4 * wanted


def test_the_standard_error_is_that_of_other_seeds():
    risk, _ = regression(p=4)
    found = [pac_bayes_sigma(risk, harm=0.1, of="loss", draws=12, seed=s) for s in range(20)]
    spread = np.std([f.value for f in found])
    assert 0.6 < np.mean([f.standard_error for f in found]) / spread < 1.6


def threshold(weight=0.5):
    """Two logits, -w and w, and one example: right as long as the noise does not turn them."""
    model = nn.utils.skip_init(nn.Linear, 1, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-weight], [weight]]))
    x, y = torch.ones(3, 1, dtype=torch.float64), torch.ones(3, dtype=torch.int64)
    return Risk(model, Split(inputs=x, targets=y, num_classes=2))


def test_the_noise_that_turns_a_share_of_the_answers(harm=0.2):
    wanted = 2 * 0.5 / (math.sqrt(2) * norm.ppf(1 - harm))
    found = pac_bayes_sigma(threshold(), harm=harm, draws=250)
    assert abs(found.value - wanted) < 4 * found.standard_error < 0.7 * wanted
    share = pac_bayes_sigma(threshold(), harm=harm, draws=250, magnitude_aware=True)
    assert share.value == pytest.approx(found.value / 0.5, rel=1e-2)


def test_only_noise_in_proportion_bears_rescaling():
    model, split = network(steps=100)
    twin = rescaled(model, FIRST, SECOND, 10.0)
    for aware in (True, False):
        one, other = (
            pac_bayes_sigma(Risk(m, split), magnitude_aware=aware, draws=4) for m in (model, twin)
        )
        assert (other.value == pytest.approx(one.value, rel=1e-9)) == aware
    risk = Risk(model, split)
    assert pac_bayes_sigma(risk, draws=4).value == pac_bayes_sigma(risk, draws=4).value


def test_noise_that_no_network_notices_is_an_error_in_one_sentence():
    model, split = network(steps=50)
    with pytest.raises(ValueError, match=r"`harm` must be one that noise can do; up to noise of"):
        pac_bayes_sigma(Risk(model, split), harm=0.95, draws=2)
    with pytest.raises(ValueError, match=r"of an accuracy must lie in \(0, 1\), on classes"):
        pac_bayes_sigma(Risk(model, split), harm=1.0)
    with pytest.raises(ValueError, match="on classes; got"):
        pac_bayes_sigma(regression()[0])
    for option in ({"harm": -0.1}, {"draws": 1}, {"of": "margin"}, {"epsilon": -1.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be"):
            pac_bayes_sigma(Risk(model, split), **option)
    with torch.no_grad():
        model[2].bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"'2.bias' holds NaN"):
        pac_bayes_sigma(Risk(model, split))
