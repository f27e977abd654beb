"""Closed form and property: the places where a network can be rescaled.

Oracle: units counted by hand for each network, and the function itself, evaluated in float64
before and after factors over several decades.
"""

import copy
import math
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gengap
from gengap.symmetries import find, permute, rescale, transform
from gengap.symmetries._difference import difference
from tests.symmetries import user_models as users

pytestmark = pytest.mark.global_rng("torch")

IMAGES = (4, 1, 8, 8)
CASES = {
    "mlp": (lambda: gengap.models.mlp((1, 8, 8), 3, hidden=(9, 7)), IMAGES, 9 + 7),
    "mlp with BatchNorm": (
        lambda: gengap.models.mlp((1, 8, 8), 3, hidden=(9, 7), batch_norm=True),
        IMAGES,
        2 * (9 + 7),
    ),
    "lenet": (lambda: gengap.models.lenet((1, 12, 12), 3), (2, 1, 12, 12), 6 + 16 + 120 + 84),
    # statistics: 4 + 2 * 4 + 2 * 8 + 2 * 16, within blocks 4 + 8 + 16, streams: 4 channels from
    # the start on, 4 more from the second stage, 8 more from the third
    "resnet": (
        lambda: gengap.models.resnet((1, 8, 8), 3, depth=8, width=4),
        IMAGES,
        (4 + 2 * 4 + 2 * 8 + 2 * 16) + (4 + 8 + 16) + (4 + 4 + 8),
    ),
    "vgg": (users.Vgg, IMAGES, 4 + 4 + 2 * (8 + 8) + 10),
    "functional": (users.Functional, IMAGES, 4 + 6 + 8),
    "residual": (users.Residual, IMAGES, 5),
    "concatenating": (users.Concatenating, IMAGES, 3 + 4 + 7 + 6),
    # queries against keys 8, values 8, and LayerNorm's gain into the head 8
    "attending": (users.Attending, (4, 5, 4), 8 + 8 + 8),
    # of the tied layer the columns, so its rows and what feeds it: one factor a unit
    "mixed": (users.Mixed, (4, 4), 6),
    # a block: keys 8, values 8, and two LayerNorms; GELU stops the hidden units; the last norm
    "transformer": (users.Transformer, IMAGES, 2 * (8 + 8 + 8 + 8) + 8),
    "transformer with ReLU": (lambda: users.Transformer("relu"), IMAGES, 2 * (4 * 8 + 12) + 8),
}


def case(name):
    build, shape, units = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return users.randomized(build()), users.drawn(*shape), units


def gap(model, other, x):
    with torch.no_grad():
        a, b = model(x), other(x)
    return float((a - b).abs().max() / a.abs().max())


@pytest.mark.parametrize("name", CASES)
def test_the_free_units_are_those_counted_by_hand(name):
    model, x, units = case(name)
    found = find(model, x)
    assert found.num_scales == units == sum(place.units for place in found.rescalings)
    both = torch.cat([place.scales for place in found.rescalings]).sort().values
    assert torch.equal(both, torch.arange(units))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_function_stays_over_four_decades(name, seed):
    model, x, units = case(name)
    found = find(model, x[:2])
    draw = 2 * torch.rand(units, generator=torch.Generator().manual_seed(seed)).double() - 1
    moved = found.apply(model, draw * torch.tensor(100.0).log())
    assert gap(model, moved, x) < 1e-12
    changed = [n for n, p in moved.named_parameters() if not torch.equal(p, model.get_parameter(n))]
    assert set(found.exponents) <= set(changed)


@pytest.mark.parametrize("name", CASES)
def test_every_single_unit_matters_and_keeps_the_function(name):
    model, x, units = case(name)
    found = find(model, x[:2])
    for unit in range(0, units, max(1, units // 12)):
        one = found.log_scales()
        one[unit] = 3.0
        moved = found.apply(model, one)
        assert gap(model, moved, x) < 1e-12
        assert any(not torch.equal(p, model.get_parameter(n)) for n, p in moved.named_parameters())


def test_inception_without_batch_norm_is_found_whole():
    model = gengap.models.small_inception((1, 8, 8), 3, batch_norm=False)
    model, x = users.randomized(model), users.drawn(2, 1, 8, 8)
    found = find(model, x)
    assert found.num_scales == 1712 and found.skipped == ()
    moved = found.apply(model, torch.linspace(-4, 4, 1712, dtype=torch.float64))
    assert gap(model, moved, x) < 1e-11


def test_small_alexnet_refuses_its_response_normalizations_by_name_and_finds_the_rest():
    model = gengap.models.small_alexnet((3, 8, 8), 5)
    found = find(model, torch.ones(2, 3, 8, 8))
    assert [place.name for place in found.rescalings] == ["10 -> 13", "13 -> 16"]
    assert [place.units for place in found.rescalings] == [384, 192]
    assert [str(skip) for skip in found.skipped] == [
        f"`{layer}` (LocalResponseNorm): `local_response_norm` is not homogeneous: what enters it "
        "keeps its scale."
        for layer in (3, 7)
    ]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.gelu, "gelu"),
        (F.silu, "silu"),
        (torch.sigmoid, "sigmoid"),
        (torch.tanh, "tanh"),
        (lambda x: x.softmax(-1), "softmax"),
        (F.elu, "elu"),
        (F.relu6, "relu6"),
        (lambda x: F.layer_norm(x, (6,)), "layer_norm"),
        (lambda x: F.normalize(x, dim=1), "normalize"),
        (lambda x: x + 1, "add"),
        (lambda x: 1 - x, "rsub"),
        (lambda x: x * x, "mul"),
        (lambda x: x**2, "pow"),
        (lambda x: 1 / x, "rdiv"),
        (lambda x: x / x.norm(dim=1, keepdim=True), "norm"),
        (lambda x: x.clamp(max=1), "clamp"),
        (lambda x: x.cumprod(1), "cumprod"),
        (lambda x: x * x.sum().item(), "item"),
        (lambda x: x * float(x.sum()), "float"),
        (lambda x: x.masked_fill(x > 1, 1.0), "gt"),
        (lambda x: torch.sort(x, dim=1).values.cumprod(1), "sort"),
    ],
)
def test_what_is_not_homogeneous_is_refused_by_name(function, name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.last(function(self.first(x)))

    found = find(Net(), torch.ones(3, 4))
    assert found.num_scales == 0 and found.rescalings == ()
    assert name in [skip.operation for skip in found.skipped]
    assert all(str(skip).startswith("the model (Net): ") for skip in found.skipped)


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        lambda x: F.leaky_relu(x, 0.1),
        lambda x: x.clamp(min=0),
        lambda x: 2 * x / 3 - x * torch.ones(6),
        lambda x: torch.maximum(x, -x),
        lambda x: x.abs() + torch.zeros(6),
        lambda x: F.pad(x, (1, 1))[:, 1:-1],
        lambda x: torch.stack([x, x]).sum(0),
        lambda x: torch.where(torch.tensor(True), x, -x),
        lambda x: x.view(-1, 2, 3).permute(0, 2, 1).permute(0, 2, 1).reshape(-1, 6),
    ],
)
def test_what_is_homogeneous_passes(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.last(function(self.first(x)))

    model, x = users.randomized(Net()), users.drawn(3, 4)
    found = find(model, x)
    assert found.num_scales == 6
    assert gap(model, found.apply(model, users.drawn(6)), x) < 1e-13


class Tied(nn.Module):
    """One weight as an embedding and, turned over, as the last layer."""

    def __init__(self):
        super().__init__()
        self.embed, self.mid = nn.Embedding(7, 4), nn.Linear(4, 4)

    def forward(self, tokens):
        return F.linear(torch.relu(self.mid(self.embed(tokens))), self.embed.weight)


class Overwriting(nn.Module):
    """Writes into a slice of its hidden layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.first(x)
        left = x[:, :3]
        left.sigmoid_()
        return self.last(x)


class Unseen(torch.autograd.Function):
    """A function that no tracer sees into."""

    @staticmethod
    def forward(ctx, x):
        return x.sigmoid()

    @staticmethod
    def backward(ctx, g):
        return g


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.mid, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.last(torch.relu(self.mid(Unseen.apply(self.first(x)))))


@pytest.mark.parametrize(
    ("build", "x", "units"),
    [
        (Tied, torch.arange(6).view(2, 3), 0),
        (Overwriting, torch.ones(2, 4), 0),
        (Custom, torch.ones(2, 4), 5),
    ],
)
def test_tied_weights_overwritten_views_and_unseen_functions_are_not_guessed(build, x, units):
    model = users.randomized(build())
    x = x if x.dtype == torch.int64 else x.double()
    found = find(model, x)
    assert found.num_scales == units
    moved = found.apply(model, found.log_scales(1.0))
    assert gap(model, moved, x) < 1e-13


def test_zeros_in_the_inputs_are_not_taken_for_constants():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(x + torch.relu(self.first(x)))

    assert find(Net(), torch.zeros(2, 4)).num_scales == 0


def test_the_model_is_left_as_it_is_and_inputs_may_be_guessed():
    model = gengap.models.resnet((1, 8, 8), 3, depth=8, width=4).train()
    before = copy.deepcopy(model.state_dict())
    assert find(model).num_scales == find(model, torch.ones(2, 1, 8, 8)).num_scales
    assert model.training and all(module.training for module in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_no_inputs_and_no_guess_is_one_sentence():
    with pytest.raises(ValueError, match="`example_inputs` must be given for this model"):
        find(nn.Bilinear(3, 3, 2))
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module; got str"):
        find("model")


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...] = ()
    note: str = ""


class Plain:
    def __init__(self, logits):
        self.logits = logits


class Packing(nn.Module):
    """Returns its logits, and a hidden layer in front of it, in a wrapping."""

    def __init__(self, wrap):
        super().__init__()
        self.first, self.mid, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)
        self.wrap = wrap

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return self.wrap(self.last(torch.relu(self.mid(hidden))), hidden)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits, hidden: Answer(logits, (hidden,), "text"),
        lambda logits, hidden: {"answers": [Answer(logits), Answer(hidden)]},
    ],
)
def test_outputs_in_dataclasses_are_looked_into(wrap):
    model, x = users.randomized(Packing(wrap)), users.drawn(5, 4)
    found = find(model, x)
    assert [place.name for place in found.rescalings] == ["mid -> last"]
    assert [place.units for place in found.permutations] == [5]
    assert 0 < transform(model, 3.0, example_inputs=x, symmetries=found).difference < 1e-12
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.first.weight *= 2
    assert difference(model, other, (x,)) > 0.1


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda logits, hidden: Plain(logits), "Plain"),
        (lambda logits, hidden: (logits, Plain(hidden)), "Plain"),
        (lambda logits, hidden: torch.distributions.Categorical(logits=logits), "Categorical"),
        (lambda logits, hidden: None, "NoneType"),
        (lambda logits, hidden: logits[:0], "Tensor"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(wrap, kind):
    words = rf"`model` must return tensors that are not empty, .*; got {kind}\."
    for function in (find, permute, rescale):
        with pytest.raises(TypeError, match=words):
            function(Packing(wrap), example_inputs=torch.ones(2, 4))


@pytest.mark.parametrize("function", [find, rescale, permute])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,)])
def test_no_example_is_one_sentence(function, wrap):
    with pytest.raises(ValueError, match=r"at least one example; got a tensor of shape \(0, 3\)"):
        function(nn.Linear(3, 2), example_inputs=wrap(torch.ones(0, 3)))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, torch.ones(2, 5))])
def test_scripted_parts_are_skipped_with_a_reason(make):
    part = make(nn.Sequential(nn.Linear(5, 6), nn.ReLU()))
    ends = [nn.Linear(4, 5), nn.ReLU(), part, nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)]
    model, x = nn.Sequential(*ends), torch.ones(3, 4)
    found = find(model, x)
    assert [place.name for place in found.rescalings] == ["3 -> 5"]
    assert [str(skip) for skip in found.skipped] == [
        "`3` (Linear): `forward` takes a tensor whose origin was not seen, so nothing before it is "
        "rescaled."
    ]
    assert transform(model, 3.0, example_inputs=x, symmetries=found).difference < 1e-4
    assert find(part, torch.ones(3, 5)).num_scales == 0


def test_batch_norm_takes_tiny_factors_with_its_weight():
    model = users.randomized(gengap.models.mlp((4,), 3, hidden=(5,), batch_norm=True))
    x, found = users.drawn(6, 4), find(model, users.drawn(2, 4))
    (place,) = [place for place in found.rescalings if place.one_sided]
    tiny = found.log_scales()
    tiny[place.scales] = -20.0
    moved = found.apply(model, tiny)
    torch.testing.assert_close(moved[2].running_var, model[2].running_var * math.exp(-40))
    assert (moved[2].weight.abs() > 1e5 * model[2].weight.abs()).all()  # epsilon is left
    assert gap(model, moved, x) < 1e-12


def test_training_mode_sees_no_more_than_epsilon():
    model = users.randomized(gengap.models.mlp((4,), 3, hidden=(5,), batch_norm=True))
    x, found = users.drawn(30, 4), find(model, users.drawn(2, 4))
    model.train()(x)  # statistics near those of the batch
    moved = found.apply(model, found.log_scales(1.5))
    assert gap(model.eval(), moved.eval(), x) < 1e-12
    assert 0 < gap(model.train(), moved.train(), x) < 1e-4
