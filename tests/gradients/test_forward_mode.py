"""Twin: slopes in forward mode. Oracles: PyTorch's derivatives; float64, one example at a time."""

import copy

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

import gengap.gradients._dots as dots_module
from gengap import Risk
from gengap.data import as_split
from gengap.gradients import per_example_dots
from gengap.gradients._forward_mode import dual_level, slopes
from gengap.gradients._probe import find_plan, trained
from gengap.gradients._tangent_rules import RULES
from tests.gradients.engine_models import MODELS, build
from tests.reference.per_example import gradients_one_by_one

pytestmark = [
    pytest.mark.global_rng("torch"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script`"),  # by PyTorch's own derivatives
]

BACKWARD_ONLY = {
    "attention",
    "attention, sequence first",
    "language",
    "language, tied modules",
    "language, tied by a function",
}
"""Networks of which PyTorch has no derivative forwards, or another one (padding rows)."""


def twin_of(risk, direction):
    split = risk.split
    rows = gradients_one_by_one(risk.model, split.inputs, split.targets, risk.losses)
    return sum((g * direction[k].double()).reshape(len(g), -1).sum(1) for k, g in rows.items())


def near(found, wanted, rtol):
    assert found.dtype == torch.float64
    assert float((found - wanted).abs().max()) <= rtol * float(wanted.abs().max())


def direction_of(risk):
    return {name: torch.randn_like(p) for name, p in risk.params.items()}


def tangent_of(function, values, tangents):
    """Return value and derivative of a function by PyTorch's own formulas."""
    given = [(v, t) for v, t in zip(values, tangents, strict=True) if v is not None]

    def of_given(*changed):
        rest = iter(changed)
        return function(*(None if v is None else next(rest) for v in values))

    return torch.func.jvp(of_given, tuple(v for v, _ in given), tuple(t for _, t in given))


def by_rule(function, values, tangents, *rest, **options):
    with dual_level():
        duals = [
            v if t is None else forward_ad.make_dual(v, t)
            for v, t in zip(values, tangents, strict=True)
        ]
        found = forward_ad.unpack_dual(RULES[function](*duals, *rest, **options))
        return found.primal, found.tangent


def same(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def doubles(*shapes):
    return [None if s is None else torch.randn(s, dtype=torch.float64) for s in shapes]


@settings(deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.booleans(),
    st.sampled_from([{}, {"stride": 2}, {"padding": "same"}, {"padding": 1, "dilation": 2}]),
)  # fmt: skip
def test_a_convolution(dims, groups, b, biased, options):
    function = (torch.conv1d, torch.conv2d, torch.conv3d)[dims - 1]
    options = options | {"groups": groups}
    shapes = (b, 2 * groups, *(5,) * dims), (2 * groups, 2, *(3,) * dims)
    shapes += ((2 * groups,) if biased else None,)
    values, tangents = doubles(*shapes), doubles(*shapes)
    wanted = tangent_of(lambda *a: function(*a, **options), values, tangents)
    same(by_rule(function, values, tangents, **options), wanted)
    constant = [torch.zeros_like(tangents[0]), *tangents[1:]]
    wanted = tangent_of(lambda *a: function(*a, **options), values, constant)
    same(by_rule(function, values, [None, *tangents[1:]], **options), wanted)


@settings(deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3),
    st.sampled_from(["plain", "channels last", "transposed"]),
)  # fmt: skip
def test_a_group_norm(b, groups, each, dims, order):
    shapes = (b, groups * each, *range(2, 2 + dims)), (groups * each,), (groups * each,)
    if shapes[0][1:] == (groups,):
        return  # one value a group has no spread
    values, tangents = doubles(*shapes), doubles(*shapes)
    wanted = tangent_of(lambda x, *wb: F.group_norm(x, groups, *wb, 0.1), values, tangents)
    if order == "channels last" and dims == 2:
        values[0] = values[0].contiguous(memory_format=torch.channels_last)
    if order == "transposed" and dims == 2:
        values[0] = values[0].mT.contiguous().mT
    with dual_level():
        x, *wb = (forward_ad.make_dual(v, t) for v, t in zip(values, tangents, strict=True))
        found = RULES[F.group_norm](x, groups, *wb, 0.1)
        assert (found is None) == (order == "transposed" and not values[0].is_contiguous())
        if found is not None:
            same(forward_ad.unpack_dual(found), wanted)
            plain = F.group_norm(values[0], groups)
            assert found.stride() == plain.stride() == forward_ad.unpack_dual(found)[1].stride()


@pytest.mark.parametrize("mean", [0, 10, 300])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_group_norm_whose_inputs_have_a_large_mean(mean, order):
    shapes = (4, 8, 9, 9), (8,), (8,)
    values, tangents = doubles(*shapes), doubles(*shapes)
    values[0] = (values[0] + mean).float().double()
    wanted = tangent_of(lambda x, *wb: F.group_norm(x, 2, *wb), values, tangents)
    with dual_level():
        x, *wb = (
            forward_ad.make_dual(v.float(), t.float())
            for v, t in zip(values, tangents, strict=True)
        )
        found = RULES[F.group_norm](x.contiguous(memory_format=order), 2, *wb)
        for ours, theirs in zip(forward_ad.unpack_dual(found), wanted, strict=True):
            assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


@pytest.mark.parametrize("size", [(), (5,), (5, 4)])
def test_a_batch_norm(size):
    shapes = (3, 4, *size), (4,), (4,)
    values, tangents = doubles(*shapes), doubles(*shapes)
    mean, variance = torch.randn(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    wanted = tangent_of(
        lambda x, w, b: F.batch_norm(x, mean, variance, w, b, eps=0.1), values, tangents
    )
    with dual_level():
        x, w, b = (forward_ad.make_dual(v, t) for v, t in zip(values, tangents, strict=True))
        found = RULES[F.batch_norm](x, mean, variance, w, b, eps=0.1)
        same(forward_ad.unpack_dual(found), wanted)
        assert RULES[F.batch_norm](x, mean, variance, w, b, training=True) is None


NORMS = {
    F.group_norm: lambda x, w, b, norm=F.group_norm: norm(x, 2, w, b),
    F.batch_norm: lambda x, w, b, norm=F.batch_norm: norm(x, MEAN, MEAN.square(), w, b),
}
MEAN = torch.tensor([0.5, -1.0, 2.0, 1.5], dtype=torch.float64)


@pytest.mark.parametrize("function", NORMS)
@pytest.mark.parametrize("dual", [(1, 1, 1), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, None, None)])
def test_norms_some_of_whose_arguments_are_constant(function, dual):
    values, tangents = (doubles((3, 4, 5, 2), (4,), (4,)) for _ in range(2))
    values = [None if d is None else v for v, d in zip(values, dual, strict=True)]
    wanted = tangent_of(
        NORMS[function],
        values,
        [t * d if d else torch.zeros_like(t) for t, d in zip(tangents, dual, strict=True)],
    )
    with dual_level():
        given = [
            forward_ad.make_dual(v, t) if d else v
            for v, t, d in zip(values, tangents, dual, strict=True)
        ]
        same(forward_ad.unpack_dual(NORMS[function](*given, norm=RULES[function])), wanted)


@pytest.mark.parametrize("function", [torch.conv2d, *NORMS])
def test_constants_are_left_to_pytorch(function):
    x, w, b = doubles((2, 4, 3, 3), (4, 4, 1, 1), (4,))
    with dual_level():
        if function is torch.conv2d:
            assert RULES[function](forward_ad.make_dual(x, x), w, b) is None
        else:
            assert NORMS[function](x, b, b, norm=RULES[function]) is None
            mixed = forward_ad.make_dual(x, x).float()
            assert NORMS[function](mixed, b, b, norm=RULES[function]) is None


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", MODELS)
def test_whole_models(name):
    model, split = build(name, n=5)
    risk = Risk(model, split, dtype=torch.float64, chunk=3)
    direction, params = direction_of(risk), trained(risk.model)
    plan = find_plan(risk, params)
    if name in BACKWARD_ONLY:
        with pytest.raises((NotImplementedError, RuntimeError)):
            slopes(risk, plan, params, direction)
    else:
        near(slopes(risk, plan, params, direction), twin_of(risk, direction), 1e-9)
    assert not any(forward_ad.unpack_dual(p).tangent for p in risk.model.parameters())
    assert all(p.requires_grad for p in params.values())


def residual(norm, flat=nn.Flatten, width=8):
    first = nn.Conv2d(3, width, 3, padding=1, bias=False)
    return nn.Sequential(
        first, norm(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, bias=False), norm(2 * width), nn.ReLU(),
        flat(), nn.LazyLinear(3),
    )  # fmt: skip


class Viewed(nn.Module):
    """Takes no images with the channels last."""

    def forward(self, h):
        return h.view(len(h), -1)


class Silent(nn.Module):
    """Computes with gradients switched off, which its neighbours know nothing of."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, h):
        with torch.no_grad():
            scale = self.inner(h.flatten(2).mean(2)[:, :3]).square().sum(1)
        return h * scale.view(-1, 1, 1, 1)


class Other(torch.autograd.Function):
    """Has another derivative than its values have, and none forwards."""

    @staticmethod
    def forward(ctx, h):
        return h.sign()

    @staticmethod
    def backward(ctx, delta):
        return delta


class Binary(nn.Module):
    def forward(self, h):
        return Other.apply(h)


class Reversed(nn.Module):
    """Turns gradients around by a hook of a tensor."""

    def forward(self, h):
        if h.requires_grad:
            h = h * 1
            h.register_hook(torch.neg)
        return h


def risk_of(model, channels=3, dtype=torch.float32):
    x = torch.randn(9, channels, 8, 8)
    model(x[:2])  # its lazy layer learns its size
    return Risk(model.eval(), as_split(x, torch.arange(9) % 3), dtype=dtype, chunk=5)


@pytest.mark.parametrize("flat", [nn.Flatten, Viewed])
@pytest.mark.parametrize(
    ("norm", "keeps_order"),
    [
        (lambda c: nn.GroupNorm(4, c), True),
        (nn.BatchNorm2d, True),
        (lambda c: nn.InstanceNorm2d(c, affine=True), False),
        (nn.InstanceNorm2d, False),
        (lambda c: nn.GroupNorm(2, c, affine=False), True),
        (lambda c: nn.Identity(), True),
    ],
    ids=[
        "GroupNorm",
        "BatchNorm",
        "InstanceNorm",
        "InstanceNorm without scales",
        "GroupNorm without scales",
        "none",
    ],
)
def test_convolutional_networks_in_float32(norm, keeps_order, flat):
    risk = risk_of(residual(norm, flat))
    direction = direction_of(risk)
    found = per_example_dots(risk, direction)
    plan = find_plan(risk, trained(risk.model))
    assert plan.forward
    assert plan.agrees
    assert plan.forward_last == (flat is nn.Flatten or not keeps_order)
    near(found, twin_of(risk, direction), 1e-4)
    some = {name: v for name, v in direction.items() if "0" in name}
    zeros = {name: torch.zeros_like(v) for name, v in direction.items()}
    near(per_example_dots(risk, some), twin_of(risk, zeros | some), 1e-4)
    assert not per_example_dots(risk, {}).any()


class Hooked(nn.Module):
    """Asks for the graph in another way."""

    def forward(self, h):
        h = h * 1
        if h.grad_fn is not None:
            h.register_hook(lambda delta: 3 * delta)
        return h


class Slope(nn.Module):
    """Differentiates within, and what it finds is differentiated again."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, h):
        with torch.enable_grad():
            x = h.detach().clone().requires_grad_()
            energy = self.inner(x).tanh().square().sum()
            return h + torch.autograd.grad(energy, x, create_graph=True)[0]


@torch.library.custom_op("gengap_tests::square", mutates_args=())
def square(h: torch.Tensor) -> torch.Tensor:
    return h * h


square.register_autograd(
    lambda ctx, delta: 2 * ctx.saved_tensors[0] * delta,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)


class Custom(nn.Module):
    """Of this operation PyTorch has a derivative backwards only, and does not say so."""

    def forward(self, h):
        return h + square(h)


class Looked(nn.Module):
    """Looks up by the function whose padding row nobody sees."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 8))

    def forward(self, h):
        rows = torch.embedding(self.table, (h[:, 0, 0, 0] > 0).long(), 0)
        return h + rows[:, :, None, None]


@pytest.mark.parametrize("between", [Silent, Binary, Reversed, Hooked, Slope, Custom, Looked])
def test_what_only_a_backward_pass_knows(between):
    model = residual(lambda c: nn.GroupNorm(4, c))
    model.insert(3, between())
    risk = risk_of(model)
    direction = direction_of(risk)
    plan = find_plan(risk, trained(risk.model))
    for _ in range(2):
        near(per_example_dots(risk, direction), twin_of(risk, direction), 1e-4)
        assert plan.agrees is False


class Tied(nn.Module):
    """Uses a table past its layer, beside code without gradients."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = F.linear(x, self.first.weight * 2).tanh()
        with torch.no_grad():
            scale = h.square().sum(1, keepdim=True)
        return self.last(h * scale)


def test_parameters_past_their_layer_beside_code_without_gradients():
    risk = Risk(Tied(), as_split(torch.randn(9, 6), torch.arange(9) % 3), dtype=torch.float64)
    direction = direction_of(risk)
    near(per_example_dots(risk, direction), twin_of(risk, direction), 1e-9)
    plan = find_plan(risk, trained(risk.model))
    assert plan.whole
    assert plan.agrees is False


def test_hooks_of_modules_are_heard():
    risk = risk_of(residual(lambda c: nn.GroupNorm(4, c)))
    direction = direction_of(risk)
    plain = per_example_dots(risk, direction)
    risk.model[2].register_full_backward_hook(lambda module, back, delta: (3 * back[0],))
    found = per_example_dots(risk, direction)
    near(found, twin_of(risk, direction), 1e-4)
    assert float((found - plain).abs().max()) > 0.1 * float(plain.abs().max())


def test_elsewhere_there_is_a_backward_pass(monkeypatch):
    tried = []

    def recorded(*args):
        tried.append(args)
        return slopes(*args)

    monkeypatch.setattr(dots_module, "slopes", recorded)
    for risk in (
        risk_of(residual(nn.BatchNorm2d), dtype=torch.float64),
        risk_of(residual(lambda c: nn.Identity(), width=32)),
    ):
        direction = direction_of(copy.copy(risk))
        near(per_example_dots(risk, direction), twin_of(risk, direction), 1e-4)
    assert not tried
    risk = risk_of(residual(nn.BatchNorm2d))
    per_example_dots(risk, direction_of(risk))
    assert tried


class ByName(nn.Module):
    """Gives its input by name, and wants it in the usual order."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width, 3, 3))

    def forward(self, h):
        assert h.is_contiguous()
        return F.conv2d(input=h, weight=self.weight, padding=1)


def test_arguments_by_name_and_networks_that_insist_on_an_order():
    model = residual(lambda c: nn.GroupNorm(4, c))
    model.insert(3, ByName(8))
    risk = risk_of(model)
    direction = direction_of(risk)
    near(per_example_dots(risk, direction), twin_of(risk, direction), 1e-4)
    plan = find_plan(risk, trained(risk.model))
    assert plan.agrees
    assert not plan.forward_last


def test_inference_mode_is_no_place_for_derivatives():
    risk = risk_of(residual(nn.BatchNorm2d))
    direction = direction_of(risk)
    found = per_example_dots(risk, direction)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="nference"):
        per_example_dots(risk, direction)
    assert torch.equal(per_example_dots(risk, direction), found)


class Kinks(nn.Module):
    """Of one example the derivative in float32 hangs on the order of a sum."""

    def __init__(self, same):
        super().__init__()
        self.same = same

    def forward(self, h):
        doubt = (h.dtype == torch.float32) | (not self.same)
        with forward_ad._set_fwd_grad_enabled(not (doubt and len(h) > 1)):
            part = h[:1] * 1e-3
        return torch.cat([h[:1] + part, h[1:]])


@pytest.mark.parametrize("same", [True, False])
def test_float64_decides_where_float32_leaves_a_doubt(same):
    model = residual(lambda c: nn.Identity())
    model.insert(3, Kinks(same))
    risk = risk_of(model)
    per_example_dots(risk, direction_of(risk))
    assert find_plan(risk, trained(risk.model)).agrees == same
