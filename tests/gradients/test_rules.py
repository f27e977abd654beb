"""Twin: every rule on drawn shapes. Oracle: float64 autograd, one example at a time."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from torch import nn
from torch.nn import functional as F

from gengap.gradients import Recorder, intercepted
from tests.reference.per_example import gradients_one_by_one

pytestmark = pytest.mark.global_rng("torch")

drawn = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
small = st.integers(1, 3)


class Everything(Recorder):
    def __init__(self, model, directions):
        self.parts, self.several = {}, {}
        self.directions = directions

    def record(self, parts):
        for name, part in parts.items():
            total = torch.full(part.shape, 0.5, dtype=torch.float64)
            part.add_sum_to(total)
            sequence = part.sequence()
            self.parts[name] = {
                "squared norms": part.squared_norms(),
                "sum": part.sum(),
                "added sum": total - 0.5,
                "gradients": part.dense(),
                "inner products": part.dots(self.directions[name]),
                "Gram matrix": part.gram(),
                "as sequence": part.dense() if sequence is None else sequence.dense(),
            }
        return {name: part.sum() for name, part in parts.items()}


def agrees(model, x, examples=None):
    """All that a part can tell, `.grad`, and the input's gradient, are those of the twin."""
    model = model.double().eval()
    model.zero_grad()
    for p in model.parameters():
        nn.init.normal_(p)
    directions = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    twin = gradients_one_by_one(model, x)
    given_x = x.clone().requires_grad_(x.is_floating_point())
    recorder = Everything(model, directions)
    recorder.examples = examples
    with intercepted(model, recorder):
        model(given_x).square().sum().backward()
    for name, rows in twin.items():
        flat = rows.reshape(len(rows), -1)
        found = recorder.parts[name]
        close(found["squared norms"], flat.square().sum(1))
        close(found["sum"], rows.sum(0))
        close(found["added sum"], rows.sum(0))
        close(found["gradients"], rows)
        close(found["as sequence"], rows)
        close(found["inner products"], flat @ directions[name].flatten())
        close(found["Gram matrix"], flat @ flat.T)
        close(model.get_parameter(name).grad, rows.sum(0))
    if x.is_floating_point():
        ours, given_x.grad = given_x.grad, None
        model(given_x).square().sum().backward()
        close(ours, given_x.grad)


def close(ours, theirs):
    scale = max(float(theirs.abs().max()), 1e-3)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * scale)


@drawn
@given(st.lists(small, max_size=2), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_linear(between, inputs, outputs, bias):
    x = torch.randn(4, *between, inputs, dtype=torch.float64)
    agrees(nn.Linear(inputs, outputs, bias=bias), x)


@st.composite
def convolutions(draw):
    dims = draw(st.integers(1, 3))
    groups, bias = draw(st.sampled_from([1, 1, 2])), draw(st.booleans())
    inputs, outputs = groups * draw(small), groups * draw(st.integers(1, 5))
    each = st.tuples(*[small] * dims)
    kernel, stride, dilation = draw(each), draw(each), draw(st.tuples(*[st.integers(1, 2)] * dims))
    sizes = draw(st.tuples(*[st.integers(4, 6)] * dims))
    if draw(st.booleans()):
        padding = tuple(min(1, k // 2) for k in kernel)
        mode = draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"]))
        mode = "zeros" if dims == 3 and mode == "reflect" else mode
    else:
        padding, mode = "same", "zeros"
        stride = (1,) * dims
        kernel = tuple(k | 1 if d % 2 else k for k, d in zip(kernel, dilation, strict=True))
    assume(all(d * (k - 1) < s for d, k, s in zip(dilation, kernel, sizes, strict=True)))
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    layer = kind(
        inputs, outputs, kernel, stride, padding, dilation, groups, bias, padding_mode=mode
    )
    return layer, (inputs, *sizes)


@drawn
@given(convolutions())
def test_convolution(drawn_layer):
    layer, shape = drawn_layer
    agrees(layer, torch.randn(3, *shape, dtype=torch.float64))


@drawn
@given(st.integers(1, 3), st.sampled_from([1, 2]), small, small, st.integers(1, 3), st.booleans())
def test_transposed_convolution(dims, groups, inputs, outputs, stride, bias):
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    layer = kind(
        groups * inputs,
        groups * outputs,
        3,
        stride=stride,
        padding=1,
        output_padding=stride - 1,
        groups=groups,
        bias=bias,
    )
    agrees(layer, torch.randn(3, groups * inputs, *(3, 4, 2)[:dims], dtype=torch.float64))


@drawn
@given(st.lists(st.integers(1, 5), max_size=2), st.integers(1, 6), st.booleans(), st.booleans())
def test_embedding(shape, rows, padded, many):
    tokens = torch.randint(rows, (5, *shape, *([20] if many else [])))
    table = nn.Embedding(rows, 3, padding_idx=0 if padded else None)
    assume(not padded or bool((tokens != 0).any()))
    agrees(table, tokens)


@drawn
@given(st.lists(small, max_size=3), st.sampled_from([1, 2, 4]), st.sampled_from(range(5)))
def test_normalization_of_channels(space, groups, kind):
    channels, dims = 4, len(space)
    layer = [
        nn.GroupNorm(groups, channels),
        (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims](channels),
        (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims](
            *((4, channels) if not dims else (channels,)), affine=True
        ),
        nn.GroupNorm(groups, channels, eps=0.3),
        (nn.BatchNorm1d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dims](
            channels, affine=True, track_running_stats=True
        ),
    ][kind]
    if getattr(layer, "running_mean", None) is not None:
        nn.init.normal_(layer.running_mean)
        nn.init.uniform_(layer.running_var, 0.5, 2.0)
    x = torch.randn(3, channels, *space, dtype=torch.float64)
    assume(isinstance(layer, nn.BatchNorm1d) or x[0, 0].numel() > 2 or kind in {1, 4})
    agrees(layer, x)


@drawn
@given(st.lists(small, max_size=2), st.lists(st.integers(2, 4), min_size=1, max_size=2), small)
def test_normalization_of_features(between, features, kind):
    layer = (
        nn.LayerNorm(features),
        nn.LayerNorm(features, bias=False),
        nn.RMSNorm(features, eps=None if len(features) > 1 else 0.1),
    )[kind - 1]
    agrees(layer, torch.randn(3, *between, *features, dtype=torch.float64))


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 3), nn.GroupNorm(1, 2), nn.BatchNorm2d(2)])
def test_rows_that_belong_to_one_example(layer):
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x.flatten(0, 1)).unflatten(0, (len(x), -1))

    agrees(Folded(), torch.randn(4, 3, 2, 5, 5, dtype=torch.float64), examples=4)


class Sums(Recorder):
    def __init__(self):
        self.norms = {}

    def record(self, parts):
        self.norms |= {name: part.squared_norms() for name, part in parts.items()}
        return {name: part.sum() for name, part in parts.items()}


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(inplace=True),
        nn.Flatten(2),
        nn.LayerNorm(36),
        nn.Linear(36, 5),
        nn.MultiheadAttention(5, 1, batch_first=True),
    )


def run(model, x):
    *layers, attend = model
    for layer in layers:
        x = layer(x)
    return attend(x, x, x, need_weights=False)[0].mean(1)


def test_under_autocast_gradients_are_what_autocast_makes_them():
    model, x, y = network(), torch.randn(6, 3, 6, 6), torch.randint(5, (6,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        F.cross_entropy(run(model, x), y).backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    recorder = Sums()
    with intercepted(model, recorder), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = run(model, x)
        loss = F.cross_entropy(outputs, y)
        loss.backward()
    assert outputs.dtype == torch.bfloat16
    exact = gradients_one_by_one(Wrapped(model), x, y, F.cross_entropy)
    for name, p in model.named_parameters():
        assert p.grad.dtype == torch.float32
        mean = exact[f"model.{name}"].mean(0)
        theirs = float((plain[name] - mean).norm())
        assert float((p.grad - mean).norm()) <= 2 * theirs + 0.01 * float(mean.norm()) + 1e-4
    for name, norms in recorder.norms.items():
        rows = exact[f"model.{name}"].reshape(6, -1) / 6
        whole = rows.square().sum(1)
        assert float((norms - whole).abs().max()) <= 0.1 * float(whole.max()) + 1e-8


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return run(self.model, x)


def test_an_input_changed_in_place_is_noticed():
    layer = nn.Linear(3, 3)
    x = torch.randn(2, 3)
    with intercepted(layer, Sums()):
        out = layer(x)
        x += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def test_examples_that_are_not_where_the_recorder_says_are_refused():
    model, recorder = nn.Sequential(nn.Linear(3, 3)), Sums()
    recorder.examples = 4
    with intercepted(model, recorder):
        out = model(torch.randn(6, 3))
        with pytest.raises(ValueError, match=r"keep the examples apart in every layer; got '0'"):
            out.sum().backward()


def test_a_module_that_draws_is_named():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return F.dropout(x, 0.5) * self.scale

    with intercepted(model := nn.Sequential(Noisy()), Sums()):
        out = model(torch.randn(4, 3))
        with pytest.raises(ValueError, match="got '0', where it draws random numbers"):
            out.sum().backward()


def test_frozen_parameters_are_not_entered():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    recorder = Sums()
    with intercepted(model, recorder):
        assert "forward" not in vars(model[0])
        model(torch.randn(4, 3)).sum().backward()
    assert list(recorder.norms) == ["1.weight"]


def test_channels_last_and_strided_inputs():
    for layer in (nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.InstanceNorm2d(4)):
        layer = nn.Sequential(layer) if list(layer.parameters()) else nn.Conv2d(4, 2, 1)
        x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
        agrees(layer, x.to(memory_format=torch.channels_last))
        agrees(layer, x.transpose(2, 3))
        agrees(layer, torch.randn(3, 4, 10, 5, dtype=torch.float64)[:, :, ::2])


class Turned(nn.Module):
    """A weight [d, o] of its own, beside a layer that has one, too."""

    def __init__(self, d, o):
        super().__init__()
        self.weight, self.inner = nn.Parameter(torch.zeros(d, o)), nn.Linear(o, o)

    def forward(self, x):
        return self.inner(x @ self.weight)


@drawn
@given(st.lists(small, min_size=1, max_size=3), small, small)
def test_a_product_with_a_weight(sizes, d, o):
    agrees(Turned(d, o), torch.randn(*sizes, d, dtype=torch.float64))


@pytest.mark.parametrize("sizes", [(3,), (3, 4)])
def test_the_linear_layer_of_gpt_2(sizes):
    layer = pytest.importorskip("transformers.pytorch_utils").Conv1D(5, 4)
    agrees(nn.Sequential(layer), torch.randn(*sizes, 4, dtype=torch.float64))
    recorder = Everything(layer, {k: torch.zeros_like(p) for k, p in layer.named_parameters()})
    with intercepted(layer, recorder):
        assert layer(torch.randn(*sizes, 4).double()).grad_fn.name() == "_UseBackward"
