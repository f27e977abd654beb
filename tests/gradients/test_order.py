"""Twin: models that put their examples in another order for some layers; each example alone."""

import pytest
import torch
from torch import nn

import gengap
from gengap.data import as_split
from gengap.gradients import per_example_block_dots, per_example_dots, per_example_squared_norms


class Sorted(nn.Module):
    """Sorts the examples, and puts them back."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.last(self.first(x[order]).tanh()[order.argsort()])


class Turned(Sorted):
    """Turns them around, twice."""

    def forward(self, x):
        return self.last(self.first(x.flip(0)).tanh().flip(0))


class SortedSteps(nn.Module):
    """Sorts the examples for a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.steps, self.last = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        x = x.view(-1, 2, 3)
        order = x[:, 0, 0].argsort()
        return self.last(self.steps(x[order])[0][:, -1][order.argsort()])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", [Sorted, Turned, SortedSteps])
def test_examples_in_another_order_keep_their_gradients(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = kind().double()
    risk = gengap.Risk(model, as_split(x, torch.arange(12) % 3), dtype=torch.float64)
    alone = torch.cat([per_example_squared_norms(risk[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(per_example_squared_norms(risk), alone, rtol=1e-9, atol=0)
    direction = risk.gradient()
    dots = torch.stack([
        sum((g * direction[k]).sum() for k, g in risk[i : i + 1].gradient().items())
        for i in range(12)
    ])
    torch.testing.assert_close(per_example_dots(risk, direction), dots, rtol=1e-9, atol=1e-12)


class Tied(nn.Module):
    """A table with a padding row that is the last layer's weight, too."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 4, padding_idx=0)

    def forward(self, x):
        return nn.functional.linear(self.table(x).mean(1), self.table.weight)


class TiedByHand(Tied):
    """The last row is the padding, and named from the end."""

    def forward(self, x):
        weight = self.table.weight
        picked = nn.functional.embedding(x, weight, padding_idx=-1)
        return nn.functional.linear(picked.mean(1), weight)


@pytest.mark.parametrize("kind", [Tied, TiedByHand])
def test_a_padding_row_has_no_gradient_in_forward_mode_either(kind):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 11, (20, 7), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = kind()
    risk = gengap.Risk(model, as_split(tokens, torch.arange(20) % 11, layout="tokens"))
    direction = {"table.weight": torch.randn(11, 4, generator=generator)}
    dots = torch.stack([
        (risk[i : i + 1].gradient()["table.weight"] * direction["table.weight"]).sum()
        for i in range(20)
    ])
    for found in (
        per_example_dots(risk, direction),
        per_example_block_dots(risk, direction)["table.weight"],
    ):
        torch.testing.assert_close(found, dots.double(), rtol=1e-4, atol=1e-5)
