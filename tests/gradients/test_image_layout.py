"""Twin: gradients with the channels last in memory. Oracle: one example at a time in float64."""

import pytest
import torch
from torch import nn

from gengap import Risk
from gengap.data import Split
from gengap.gradients import gradient_statistics, per_example_dots
from gengap.gradients._image_layout import faster_last

pytestmark = pytest.mark.global_rng("torch")


class Viewed(nn.Module):
    def forward(self, h):
        return h.view(len(h), -1)


class Strided(nn.Module):
    """Wrong with the channels last, and silent about it."""

    def forward(self, h):
        return h.as_strided((len(h), h[0].numel()), (h[0].numel(), 1))


def network(flat=None, norm=None, width=32, channels=2):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), norm or nn.Identity(), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(width, width, 3, stride=2), nn.ReLU(), flat or nn.Flatten(),
        nn.Linear(4 * width, 3),
    )  # fmt: skip


def risk_of(model, channels=2, dtype=torch.float32):
    x = torch.randn(9, channels, 10, 10)
    split = Split(inputs=x, targets=torch.arange(9) % 3, num_classes=3)
    return Risk(model, split, chunk=5, dtype=dtype)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("flat", [nn.Flatten, Viewed, Strided])
def test_statistics_and_inner_products(flat, channels):
    model = network(flat(), channels=channels)
    risk = risk_of(model, channels)
    assert faster_last(risk) == (flat is nn.Flatten and channels > 1)
    v = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    found, dots = gradient_statistics(risk), per_example_dots(risk, v)
    model.double()
    for i in range(9):
        x, y = risk.split.inputs[i : i + 1].double(), risk.split.targets[i : i + 1]
        grads = torch.autograd.grad(
            nn.functional.cross_entropy(model(x), y), list(model.parameters())
        )
        square = sum(float(g.square().sum()) for g in grads)
        along = sum(float((g * d).sum()) for g, d in zip(grads, v.values(), strict=True))
        assert float(found.squared_norms[i]) == pytest.approx(square, rel=1e-4)
        assert float(dots[i]) == pytest.approx(along, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "risk",
    [
        lambda: risk_of(network(norm=nn.GroupNorm(4, 32))),
        lambda: risk_of(network(norm=nn.BatchNorm2d(32)).eval()),
        lambda: risk_of(network(width=8)),
        lambda: risk_of(network(), dtype=torch.float64),
    ],
    ids=["GroupNorm", "BatchNorm", "narrow", "float64"],
)
def test_where_it_is_no_faster_images_stay_as_they_are(risk):
    assert not faster_last(risk())
