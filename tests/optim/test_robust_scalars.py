"""Twin: robust means of numbers that are parameters against the gradients of single examples."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gengap
from gengap import Recipe
from gengap.data import as_split
from gengap.optim import RobustMean, TrimmedMeanSGD, WinsorizedSGD

pytestmark = pytest.mark.global_rng("torch")
KINDS = {"winsorized": WinsorizedSGD, "trimmed": TrimmedMeanSGD}


class Tempered(nn.Module):
    """A linear map times a number, plus a number."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.scale, self.shift = nn.Parameter(torch.tensor(1.3)), nn.Parameter(torch.tensor(0.2))

    def forward(self, x):
        return torch.sin(self.layer(x) * self.scale + self.shift)


def one_after_another(model, x, y, percent, kind):
    """The robust means of the examples' gradients, by name."""
    rows = {name: [] for name, _ in model.named_parameters()}
    for i in range(len(x)):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            rows[name].append(p.grad.numpy().copy())
    model.zero_grad()
    low, high = np.percentile(np.arange(len(x)), [percent, 100 - percent], method="nearest")
    found = {}
    for name, values in rows.items():
        ordered = np.sort(np.stack(values), axis=0)
        if kind == "winsorized":
            ordered = ordered.clip(ordered[low], ordered[high])
        else:
            ordered = ordered[low : high + 1]
        found[name] = torch.as_tensor(ordered.mean(0))
    return found


def examples():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(20, 5, generator=draw)
    return x, torch.randint(3, (20,), generator=draw)


@pytest.mark.parametrize("percent", [0, 10, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_means_of_numbers(kind, percent):
    values = torch.randn(21, generator=torch.Generator().manual_seed(0))
    mean = RobustMean(kind=kind, percent=percent)
    assert mean.of_rows(values).shape == ()
    torch.testing.assert_close(mean.of_rows(values), mean.of_rows(values[:, None])[0])


@pytest.mark.parametrize("percent", [0, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_loop_with_parameters_without_axes(kind, percent):
    torch.manual_seed(0)
    model, (x, y) = Tempered().double(), examples()
    wanted = one_after_another(copy.deepcopy(model), x.double(), y, percent, kind)
    optimizer = KINDS[kind](model.parameters(), 0.1, model=model, percent=percent)
    with optimizer.robust():
        F.cross_entropy(model(x.double()), y).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name])
    optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_with_parameters_without_axes(kind):
    torch.manual_seed(0)
    model, (x, y) = Tempered(), examples()
    twin = copy.deepcopy(model)
    recipe = Recipe(
        optimizer=f"{kind}_sgd" if kind == "winsorized" else "trimmed_mean_sgd",
        clip_percent=10, lr=0.5, momentum=0.0, epochs=3, batch_size=20,
    )  # fmt: skip
    run = gengap.fit(model, as_split(x, y), recipe=recipe)
    for _ in range(3):
        means = one_after_another(twin, x, y, 10, kind)
        with torch.no_grad():
            for name, p in twin.named_parameters():
                p -= 0.5 * means[name]
    for p, q in zip(run.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
