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


class Reading(Net):
    """As `Net`, with tensors that tell where to read."""

    def __init__(self, function, **shapes):
        super().__init__(function, **shapes)
        self.register_buffer("order", torch.tensor([3, 0, 5, 1, 4, 2]))
        self.register_buffer("some", torch.tensor([True, False, True, True, False, True]))
        self.register_buffer("counts", torch.tensor([1, 0, 2, 1, 1, 1]))
        self.register_buffer("three", torch.tensor([0, 2, 0]))


MIXED = {"w": (4, 6), "last": (6, 3)}
READING = {
    "ordered": (lambda n, x: (x @ n.w)[:, n.order].relu() @ n.last, 6, MIXED),
    "masked": (lambda n, x: (x @ n.w)[:, n.some].relu() @ n.last, 4, {**MIXED, "last": (4, 3)}),
    "index_select": (lambda n, x: (x @ n.w).relu().index_select(1, n.order) @ n.last, 6, MIXED),
    "by name": (
        lambda n, x: torch.index_select(input=x @ n.w, dim=1, index=n.order).relu() @ n.last,
        6,
        MIXED,
    ),
    "repeated": (lambda n, x: (x @ n.w).relu().repeat_interleave(n.counts, 1) @ n.last, 5, MIXED),
    "a weight in another order": (lambda n, x: (x @ n.w[:, n.order]).relu() @ n.last, 6, MIXED),
    "rows of a table": (
        lambda n, x: (x[:, :3] @ n.table[n.three]).relu() @ n.last,
        3,
        {"table": (4, 3), "last": (3, 3)},
    ),
    "counted": (
        lambda n, x: (x @ n.w)[:, torch.repeat_interleave(torch.ones(6).long())].relu() @ n.last,
        1,
        MIXED,
    ),
    "both": (
        lambda n, x: (x @ n.w)[torch.arange(len(x))[:, None], n.order].relu() @ n.last, 6, MIXED,
    ),
    "examples in another order": (
        lambda n, x: (x @ n.w)[torch.arange(len(x) - 1, -1, -1)].relu() @ n.last, 6, MIXED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READING)
def test_tensors_that_tell_where_to_read_are_followed(name):
    function, units, shapes = READING[name]
    found = check(Reading(function, **shapes), users.drawn(5, 4), units)
    assert all(skip.operation != "forward" for skip in found.skipped)


class Tokens(nn.Module):
    """Looks tokens up in a plain parameter, and reads hidden units at places that are given."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(users.drawn(7, 4))
        self.mid, self.last = nn.Linear(4, 6), nn.Linear(3, 2)

    def forward(self, tokens, units):
        hidden = torch.relu(self.mid(torch.relu(self.table[tokens])))
        return self.last(torch.relu(hidden[..., units]))


def test_other_inputs_may_read_elsewhere():
    model = users.randomized(Tokens())
    found = find(model, (torch.tensor([[0, 1], [2, 1]]), torch.tensor([0, 2, 5])))
    assert found.num_scales == 4 + 1  # the table's columns, and all hidden units as one
    moved = found.apply(model, users.drawn(5))
    for units in ([0, 2, 5], [1, 3, 4]):
        others = torch.tensor([[6, 5], [4, 3]]), torch.tensor(units)
        torch.testing.assert_close(moved(*others), model(*others), rtol=1e-12, atol=1e-13)
    inputs = torch.tensor([[0, 1], [2, 1]]), torch.tensor([0, 2, 5])
    changed = permute(model, symmetries=found, example_inputs=inputs)
    others = torch.tensor([[6, 5], [4, 3]]), torch.tensor([1, 3, 4])
    torch.testing.assert_close(changed(*others), model(*others), rtol=1e-12, atol=1e-13)


BY_NAME = {
    "relu": (lambda n, x: torch.relu(input=x @ n.w) @ n.last, 6),
    "matmul": (lambda n, x: torch.matmul(input=(x @ n.w).relu(), other=n.last), 6),
    "mm": (lambda n, x: torch.mm(input=(x @ n.w).relu(), mat2=n.last), 6),
    "add": (lambda n, x: torch.add(input=x @ n.w, other=n.b).relu() @ n.last, 6),
    "add a number": (lambda n, x: torch.add(input=x @ n.w, other=1.0).relu() @ n.last, 0),
    "linear": (lambda n, x: F.linear(input=x, weight=n.w.T, bias=n.b).relu() @ n.last, 6),
    "addmm": (lambda n, x: torch.addmm(input=n.b, mat1=x, mat2=n.w).relu() @ n.last, 6),
    "mean": (
        lambda n, x: torch.mean(input=(x @ n.w).relu().view(-1, 2, 3), dim=1) @ n.last[:3], 3,
    ),
    "clamp": (lambda n, x: torch.clamp(input=x @ n.w, min=0) @ n.last, 6),
    "clamp below one": (lambda n, x: torch.clamp(input=x @ n.w, max=1) @ n.last, 0),
    "cat": (lambda n, x: torch.cat(tensors=[x @ n.w, x @ n.w], dim=0)[:5].relu() @ n.last, 6),
    "split": (lambda n, x: torch.split(tensor=x @ n.w, split_size_or_sections=6, dim=1)[0] @ n.last,
              6),
    "maximum": (lambda n, x: torch.maximum(input=x @ n.w, other=x @ n.w.neg()) @ n.last, 6),
    "max of two": (lambda n, x: torch.max(input=x @ n.w, other=2 * (x @ n.w)) @ n.last, 6),
    "max with another": (lambda n, x: torch.max(input=x @ n.w, other=x @ n.v) @ n.last, 6),
    "where": (
        lambda n, x: torch.where(condition=x[:, :1] > 0, input=x @ n.w, other=x @ n.v) @ n.last, 6,
    ),
    "a method's where": (
        lambda n, x: (x @ n.w).where(condition=x[:, :1] > 0, other=x @ n.v) @ n.last, 0,
    ),
    "pad": (lambda n, x: F.pad(input=x @ n.w, pad=(1, 1))[:, 1:-1].relu() @ n.last, 6),
    "softmax": (lambda n, x: torch.softmax(input=x @ n.w, dim=1) @ n.last, 0),
    "sigmoid": (lambda n, x: torch.sigmoid(input=x @ n.w) @ n.last, 0),
    "mul": (lambda n, x: torch.mul(input=x @ n.w, other=2.0) @ n.last, 6),
    "div": (lambda n, x: torch.div(input=x @ n.w, other=2.0) @ n.last, 6),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_arguments_may_be_given_by_name(name):
    function, units = BY_NAME[name]
    shapes = {**WEIGHTS, "v": (4, 6)} if "v" in function.__code__.co_names else WEIGHTS
    check(Net(function, **shapes), users.drawn(5, 4), units)


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
