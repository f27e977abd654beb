"""Twin: mean squared cosines, pair by pair; property: Welch's bound, and training with it."""

import math

import pytest
import torch

from gengap import models
from gengap.data import Split
from gengap.optim import RepresentationCoherence, representation_coherence
from gengap.training import Recipe, fit


def test_it_is_the_mean_over_pairs_of_squared_cosines():
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = z.tolist()
    total = 0.0
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            total += (i != j) * dot**2 / (math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
    assert float(representation_coherence(z)) == pytest.approx(total / 30)
    scaled = z * torch.linspace(1, 9, 6, dtype=torch.float64)[:, None]
    assert float(representation_coherence(scaled)) == pytest.approx(total / 30)


def test_extremes():
    assert float(representation_coherence(torch.eye(5))) == pytest.approx(0)
    assert float(representation_coherence(torch.ones(5, 3))) == pytest.approx(1)
    assert float(representation_coherence(torch.ones(1, 3))) == 0
    assert float(representation_coherence(torch.zeros(3, 0))) == 0
    angles = torch.arange(3) * math.pi / 3
    frame = torch.stack([angles.cos(), angles.sin()], 1)
    assert float(representation_coherence(frame)) == pytest.approx((3 / 2 - 1) / 2, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-40, 1e-15, 1e-6, 1.0, 1e20, 1e38])
def test_no_scale_changes_it(scale):
    z = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]) * scale
    z.requires_grad_()
    found = representation_coherence(z)
    assert float(found.detach()) == pytest.approx(0.5 / 3, rel=1e-4)
    found.backward()
    twice = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    representation_coherence(twice).backward()
    if 1e-15 <= scale <= 1e20:
        torch.testing.assert_close(z.grad[:2] * scale, twice.grad[:2], rtol=1e-4, atol=1e-6)


def test_training_with_it_spreads_the_representation():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.nn.functional.one_hot(y, 5).float() + 0.5 * torch.randn(60, 5, generator=g) + 1
    split = Split(inputs=x, targets=y, num_classes=3)

    def after(*regularizers):
        recipe = Recipe(epochs=8, batch_size=20, lr=0.05, regularizers=regularizers)
        run = fit(lambda: models.mlp((5,), 3, hidden=(16,)), split, recipe=recipe)
        with torch.no_grad():
            return float(representation_coherence(run.model[:3](x)))

    assert after(RepresentationCoherence(strength=2.0, layer="2")) < after() - 0.05


def test_what_cannot_be_is_one_sentence():
    with pytest.raises(ValueError, match="`strength` must be positive"):
        RepresentationCoherence(strength=0.0, layer="2")
    with pytest.raises(ValueError, match="`layer` must name a module"):
        RepresentationCoherence(strength=1.0, layer="")
    one = RepresentationCoherence(strength=0.5, layer="2")
    assert one.layers == ("2",) and one.label == "representation coherence"
    assert float(one.penalty(torch.zeros(4, 2), {"2": torch.ones(4, 3)})) == pytest.approx(0.5)
