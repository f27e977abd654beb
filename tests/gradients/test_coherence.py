"""Twin and closed form: coherence of a sample, by layer and by example.

Oracle: all gradients in one matrix and every pair in a loop (tests/reference/coherence.py); the
example of six weights.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

import gengap
from gengap.data import gaussian_clusters
from gengap.gradients import six_weights
from gengap.models import lenet, mlp
from tests.reference import coherence as twin


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build()


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture
def risk():
    split = gaussian_clusters(24, dim=6, num_classes=3, separation=2.0, seed=0)
    return gengap.Risk(seeded(lambda: mlp((6,), 3, hidden=(8, 5))), split, dtype=torch.float64)


def test_the_whole_of_a_network_agrees_with_the_twin(risk):
    found, g = gengap.coherence(risk), twin.matrix(risk)
    assert found.n == 24
    assert found.alpha == pytest.approx(twin.alpha(g), rel=1e-10)
    assert found.m_coherence == pytest.approx(24 * twin.alpha(g), rel=1e-10)
    assert found.unbiased_alpha == pytest.approx(twin.unbiased_alpha(g), rel=1e-10)
    assert found.standard_error == pytest.approx(twin.jackknife_error(g), rel=1e-9)
    np.testing.assert_allclose(found.per_example, twin.alignments(g), rtol=1e-9)
    assert found.floor == 1 / 24


def test_each_layer_and_each_parameter_agree_with_the_twin(risk):
    found, g = gengap.coherence(risk), twin.stacked(risk)
    whole = sum(np.square(part).sum() for part in g.values())
    layers = {}
    for name, part in g.items():
        layers.setdefault(name.rpartition(".")[0], []).append(part)
    assert list(found.per_layer.index) == list(layers)
    assert list(found.per_parameter.index) == list(g)
    parts = {name: np.concatenate(own, 1) for name, own in layers.items()}
    for frame, wanted in ((found.per_layer, parts), (found.per_parameter, g)):
        for name, part in wanted.items():
            row = frame.loc[name]
            assert row["alpha"] == pytest.approx(twin.alpha(part), rel=1e-10)
            assert row["m_coherence"] == pytest.approx(24 * twin.alpha(part), rel=1e-10)
            assert row["unbiased_alpha"] == pytest.approx(twin.unbiased_alpha(part), rel=1e-10)
            assert row["standard_error"] == pytest.approx(twin.jackknife_error(part), rel=1e-9)
            assert row["norm_share"] == pytest.approx(np.square(part).sum() / whole, rel=1e-10)


def test_a_convolutional_network_in_float32_agrees_to_its_rounding():
    split = gaussian_clusters(12, dim=784, num_classes=3, separation=9.0, seed=0)
    images = gengap.data.as_split(split.inputs.view(-1, 1, 28, 28), split.targets)
    found = gengap.coherence(gengap.Risk(seeded(lambda: lenet((1, 28, 28), 3)), images))
    exact = gengap.Risk(seeded(lambda: lenet((1, 28, 28), 3)), images, dtype=torch.float64)
    g = twin.matrix(exact)
    assert found.alpha == pytest.approx(twin.alpha(g), rel=1e-4)
    assert found.standard_error == pytest.approx(twin.jackknife_error(g), rel=1e-3)


def test_the_floor_is_taken_away_on_request_everywhere(risk):
    kept = gengap.coherence(risk, per_class=True)
    bare = gengap.coherence(risk, per_class=True, floor=False)
    assert bare.floor == 0
    assert bare.alpha == bare.unbiased_alpha == kept.unbiased_alpha
    assert bare.m_coherence == pytest.approx(kept.m_coherence - 1)
    assert bare.m_coherence == pytest.approx((risk.n - 1) * kept.unbiased_alpha)
    for before, after in (
        (kept.per_layer, bare.per_layer),
        (kept.per_class, bare.per_class),
    ):
        np.testing.assert_allclose(after["alpha"], before["unbiased_alpha"])
        np.testing.assert_allclose(after["m_coherence"], before["m_coherence"] - 1)
    assert "taken away" in repr(bare)


@pytest.mark.parametrize("n", [1, 2, 4, 9])
def test_six_weights_start_at_their_coherence(n):
    common, own = six_weights(n)[0], six_weights(n, common=False)[0]
    assert gengap.coherence(common).alpha == pytest.approx((n + 1) / (2 * n), rel=1e-14)
    assert gengap.coherence(own).alpha == pytest.approx(1 / n, rel=1e-14)
    assert gengap.coherence(common).m_coherence == pytest.approx((n + 1) / 2, rel=1e-14)
    assert gengap.coherence(own).m_coherence == pytest.approx(1, rel=1e-14)


def test_six_weights_of_the_paper():
    common, own = gengap.coherence(six_weights()[0]), gengap.coherence(six_weights(common=False)[0])
    assert (common.alpha, common.m_coherence) == (0.625, 2.5)
    assert (own.alpha, own.m_coherence) == (0.25, 1.0)
    assert (common.unbiased_alpha, own.unbiased_alpha) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("n", "common", "weights", "loss"),
    [
        (4, True, [0.2, 0.2, 0.2, 0.2, 0.0, 0.8], 0.02),
        (4, False, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0], 0.5),
        (2, True, [1 / 3, 1 / 3, 0.0, 2 / 3], 1 / 18),
        (7, True, [1 / 8] * 7 + [0.0, 7 / 8], 1 / 128),
    ],
)
def test_six_weights_end_where_the_paper_says(n, common, weights, loss):
    train, test = six_weights(n, common=common)
    for _ in range(400):
        gradient = train.gradient()
        train.model.weight.data -= gradient["weight"]
    assert train.model.weight[0].tolist() == pytest.approx(weights, abs=1e-12)
    assert train() == pytest.approx(0, abs=1e-20)
    assert test() == pytest.approx(loss, rel=1e-12)


def test_without_the_second_pass_the_rest_is_the_same(risk):
    found, full = gengap.coherence(risk, standard_errors=False), gengap.coherence(risk)
    assert found.alpha == full.alpha
    assert found.unbiased_alpha == full.unbiased_alpha
    assert math.isnan(found.standard_error)
    assert found.per_layer["standard_error"].isna().all()
    with pytest.raises(ValueError, match="`standard_errors` must be True"):
        found.per_example  # noqa: B018


def test_few_examples_and_zero_gradients_are_no_numbers_not_errors():
    one = gengap.coherence(twin.risk_of(draws(1, 4)))
    assert one.alpha == pytest.approx(1)
    assert math.isnan(one.unbiased_alpha)
    assert math.isnan(one.standard_error)
    two = gengap.coherence(twin.risk_of(draws(2, 4)))
    assert not math.isnan(two.unbiased_alpha)
    assert math.isnan(two.standard_error)
    nothing = gengap.coherence(twin.risk_of(np.zeros((5, 4))))
    assert math.isnan(nothing.alpha)
    assert nothing.per_example.tolist() == [0.0] * 5
    lonely = gengap.coherence(twin.risk_of(np.eye(5)[:, :1] * np.ones((1, 4))))
    assert lonely.alpha == pytest.approx(1 / 5)
    assert math.isnan(lonely.standard_error)


def test_a_layer_without_gradient_is_no_number_and_has_no_share():
    vectors = np.concatenate([draws(6, 3), np.zeros((6, 2))], 1)
    frame = gengap.coherence(twin.risk_of(vectors, widths=[3, 2])).per_layer
    assert frame.loc["layers.1", "norm_share"] == 0
    assert math.isnan(frame.loc["layers.1", "alpha"])
    assert frame.loc["layers.0", "norm_share"] == 1


def test_a_batch_norm_in_training_mode_is_told_what_to_do():
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    split = gaussian_clusters(12, dim=6, num_classes=3, separation=2.0, seed=0)
    risk = gengap.Risk(model, split)
    assert gengap.coherence(risk).alpha > 0
    risk.model.train()
    with pytest.raises(ValueError, match=r"'1' is in training mode.*minibatch_coherence"):
        gengap.coherence(risk)
    risk.model[1].eval()
    with pytest.raises(ValueError, match=r"its layer '\.' is in training mode"):
        gengap.coherence(risk)


def test_what_is_shown(risk):
    found = gengap.coherence(risk, per_class=True, groups=["<b>"] * 12 + ["hard"] * 12)
    assert repr(found).startswith("Coherence(n=24, alpha=0.")
    assert "(floor 0.042)" in repr(found)
    html = found._repr_html_()
    assert html.count("<table") == 3
    assert "whole" in html
    assert "<b>" not in html
