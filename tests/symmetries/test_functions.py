"""Closed form and property: single functions that carry weights, and what is refused by name.

Oracle: units counted by hand, and the function before and after factors, in float64.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from gengap.symmetries import find, permute
from tests.symmetries import user_models as users

pytestmark = pytest.mark.global_rng("torch")


class Net(nn.Module):
    """Weights by name and a function of them and the inputs."""

    def __init__(self, function, **shapes):
        super().__init__()
        self.function = function
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(users.drawn(*shape, seed=len(name))))

    def forward(self, x):
        return self.function(self, x)


def einsum_attention(net, x):
    q, k, v = (torch.einsum("bti,ihd->bthd", x, w) for w in (net.q, net.k, net.v))
    weights = torch.einsum("bthd,bshd->bhts", q, k).softmax(-1)
    mixed = torch.einsum("bhts,bshd->bthd", weights, v)
    return torch.einsum("bthd,hdo->bto", mixed, net.o)


def fused_attention(net, x):
    q, k, v = (torch.einsum("bti,ihd->bhtd", x, w) for w in (net.q, net.k, net.v))
    return torch.einsum("bhtd,hdo->bto", F.scaled_dot_product_attention(q, k, v), net.o)


ATTENTION = {"q": (4, 2, 3), "k": (4, 2, 3), "v": (4, 2, 3), "o": (2, 3, 5)}
WEIGHTS = {"w": (4, 6), "b": (6,), "last": (6, 3)}
CASES = {
    "einsum": (Net(lambda n, x: torch.einsum("bi,ij->bj", x, n.w).relu() @ n.last, **WEIGHTS), 6),
    "addmm": (Net(lambda n, x: torch.addmm(n.b, x, n.w).relu() @ n.last, **WEIGHTS), 6),
    "matmul and sum": (Net(lambda n, x: (x @ n.w + n.b).relu() @ n.last, **WEIGHTS), 6),
    "transposed": (Net(lambda n, x: F.linear(x, n.w.T, n.b).relu() @ n.last, **WEIGHTS), 6),
    "stacked": (
        Net(lambda n, x: F.linear(x, torch.cat([n.a, n.c])).relu() @ n.last,
            a=(2, 4), c=(4, 4), last=(6, 3)), 6,
    ),
    "half of a weight twice": (
        Net(lambda n, x: (F.linear(x, n.w[:3]).relu() @ n.w[3:]), w=(6, 4)), 3,
    ),
    "gate": (
        Net(lambda n, x: (F.silu(x @ n.w) * (x @ n.gate)) @ n.last, gate=(4, 6), **WEIGHTS), 6,
    ),
    "maxout": (
        Net(lambda n, x: (x @ n.w + n.b).view(-1, 2, 3).amax(-1) @ n.last,
            w=(4, 6), b=(6,), last=(2, 3)), 2,
    ),
}  # fmt: skip


def check(model, x, units):
    model = model.double().eval()
    found = find(model, x)
    assert found.num_scales == units
    moved = found.apply(model, users.drawn(units))
    torch.testing.assert_close(moved(x), model(x), rtol=1e-11, atol=1e-12)
    return found


@pytest.mark.parametrize("name", CASES)
def test_weights_used_by_functions(name):
    model, units = CASES[name]
    check(model, users.drawn(5, 4), units)


@pytest.mark.parametrize("function", [einsum_attention, fused_attention])
def test_attention_by_einsum_has_a_factor_for_each_entry_of_keys_and_of_values(function):
    check(Net(function, **ATTENTION), users.drawn(2, 5, 4), 6 + 6)


def test_weight_normalization_has_one_factor_a_layer_and_still_permutes():
    model = nn.Sequential(
        weight_norm(nn.Linear(4, 6)), nn.ReLU(), weight_norm(nn.Linear(6, 5)), nn.ReLU(),
        weight_norm(nn.Linear(5, 3)),
    )  # fmt: skip
    x = users.drawn(5, 4)
    found = check(model, x, 2)
    assert [place.units for place in found.permutations] == [6, 5]
    changed = permute(model, symmetries=found, example_inputs=x)
    torch.testing.assert_close(changed(x), model(x))


class Nets:
    @staticmethod
    def squeeze():
        class Squeeze(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.down = nn.Conv2d(3, 6, 3), nn.Linear(6, 2)
                self.up, self.head = nn.Linear(2, 6), nn.Linear(6, 2)

            def forward(self, x):
                x = F.relu(self.conv(x))
                gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
                return self.head(F.adaptive_avg_pool2d(x * gate[:, :, None, None], 1).flatten(1))

        return Squeeze()

    @staticmethod
    def hourglass():
        class Hourglass(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Conv2d(3, 4, 3, padding=1)
                self.b = nn.Conv2d(4, 8, 3, padding=1, stride=2)
                self.up, self.out = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 1, 1)

            def forward(self, x):
                a = F.relu(self.a(x))
                return self.out(torch.cat([a, F.relu(self.up(F.relu(self.b(a))))], 1))

        return Hourglass()

    @staticmethod
    def depthwise():
        return nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(),
            nn.Conv2d(6, 4, 1, groups=2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1),
        )  # fmt: skip

    @staticmethod
    def group_norm():
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.ReLU(),
            nn.Conv2d(4, 2, 1),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "units"),
    [
        (Nets.squeeze, 6 + 2),
        (Nets.hourglass, 4 + 8 + 4),
        (Nets.depthwise, 6 + 6 + 4),
        (Nets.group_norm, 6 + 4),  # what leaves the norm, not what enters it
    ],
)
def test_convolutional_networks(build, units):
    check(build(), users.drawn(2, 3, 8, 8), units)


@pytest.mark.parametrize(
    ("build", "shape", "operation", "place"),
    [
        (lambda: nn.LSTM(4, 8, batch_first=True), (2, 5, 4), "lstm", "the model (LSTM)"),
        (
            lambda: nn.Sequential(nn.Linear(4, 5), nn.Softsign(), nn.Linear(5, 2)),
            (2, 4),
            "softsign",
            "`1` (Softsign)",
        ),
    ],
)
def test_what_is_not_known_is_named(build, shape, operation, place):
    found = find(build().double(), users.drawn(*shape))
    assert found.num_scales == 0
    assert [skip.operation for skip in found.skipped] == [operation]
    assert str(found.skipped[0]).startswith(f"{place}: `{operation}` ")


def test_a_network_that_draws_in_its_forward_is_refused():
    model = Net(lambda n, x: F.dropout((x @ n.w).relu(), 0.5, True) @ n.last, **WEIGHTS)
    with pytest.raises(ValueError, match="`model` must give the same finite outputs twice"):
        find(model, users.drawn(5, 4))
    with torch.no_grad():
        model = CASES["einsum"][0]
        model.w[0, 0] = float("nan")
    with pytest.raises(ValueError, match="`model` must give the same finite outputs twice"):
        find(model, users.drawn(5, 4))
