"""Common suite: what every network promises, over one table of cases with published counts."""

import math
from functools import partial
from inspect import Parameter, signature
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from gengap import models
from gengap.models import (
    keskar_c1,
    keskar_c2,
    keskar_c3,
    keskar_c4,
    keskar_f1,
    keskar_f2,
    lenet,
    linear,
    mlp,
    num_parameters,
    pyramid,
    residual_mlp,
    resnet,
    small_alexnet,
    small_inception,
)

pytestmark = pytest.mark.global_rng

CIFAR = ((3, 28, 28), 10)
COUNTS = {
    "linear": (linear, CIFAR, 23_530),
    "mlp 1x512": (mlp, CIFAR, 1_209_866),
    "mlp 3x512": (partial(mlp, hidden=(512,) * 3), CIFAR, 1_735_178),
    "mlp with BatchNorm": (partial(mlp, batch_norm=True), CIFAR, 1_209_866 + 2 * 512),
    "small AlexNet": (small_alexnet, CIFAR, 1_387_786),
    "small Inception": (small_inception, CIFAR, 1_649_402),
    "small Inception without BatchNorm": (
        partial(small_inception, batch_norm=False),
        CIFAR,
        1_649_402,
    ),
    "LeNet": (lenet, ((1, 28, 28), 10), 61_706),
    "ResNet-20": (resnet, ((3, 32, 32), 10), 269_722),
    "ResNet-32": (partial(resnet, depth=32), ((3, 32, 32), 10), 464_154),
    "ResNet-110": (partial(resnet, depth=110), ((3, 32, 32), 10), 1_727_962),
    "pyramid, fast": (partial(pyramid, pool_after=(1, 2, 3)), ((1, 28, 28), 10), 11_930),
    "residual MLP": (residual_mlp, ((1, 28, 28), 10), 784 * 64 + 64 + 5 * 4160 + 650),
    "pyramid, slow": (pyramid, ((1, 28, 28), 10), 160 + 5 * 2320 + 170),
    "F1": (keskar_f1, ((1, 28, 28), 10), 1_462_794),
    "F2": (keskar_f2, ((360,), 1973), 2_780_085),
    "C1": (keskar_c1, ((3, 32, 32), 10), 1_757_834),
    "C2": (keskar_c2, ((3, 32, 32), 10), 14_991_946),
    "C3": (keskar_c3, ((3, 32, 32), 100), 1_775_204),
    "C4": (keskar_c4, ((3, 32, 32), 100), 15_038_116),
}
"""Counts: papers (MLPs, AlexNet, Inception), known implementations (LeNet, ResNet), and for
Keskar's the sums of the layers, written out in `test_counts_of_keskar_are_the_sums`."""

CASES = {
    "linear": linear,
    "mlp": partial(mlp, hidden=(16, 8)),
    "mlp with BatchNorm": partial(mlp, hidden=(16, 8), batch_norm=True),
    "small_alexnet": small_alexnet,
    "small_inception": small_inception,
    "small_inception without BatchNorm": partial(small_inception, batch_norm=False),
    "lenet": lenet,
    "resnet": partial(resnet, depth=8, width=4),
    "pyramid": partial(pyramid, width=8),
    "residual_mlp": partial(residual_mlp, width=16, depth=3),
    "keskar_f1": keskar_f1,
    "keskar_f2": keskar_f2,
    "keskar_c1": keskar_c1,
    "keskar_c2": keskar_c2,
}
ALIASES = {keskar_c3: keskar_c1, keskar_c4: keskar_c2}
FLAT = {"linear", "mlp", "mlp with BatchNorm", "residual_mlp", "keskar_f1", "keskar_f2"}
LEAST = {"lenet": 12, "pyramid": 8}
NOT_MODELS = {
    *("FrozenActivations", "Gate", "module_outputs"),
    *("num_parameters", "parameters_per_example"),
    *("check_outside", "is_outside", "outside"),
}


def function_of(build):
    return build.func if isinstance(build, partial) else build


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def build(name):
    """Build the case without dropout."""
    return partial(CASES[name], dropout=0.0)


def images(n=4, shape=(2, 13, 12)):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def test_every_public_model_has_a_case_and_a_count():
    public = {
        value
        for key, value in vars(models).items()
        if callable(value) and not key.startswith("_") and key not in NOT_MODELS
    }
    assert {function_of(build) for build in CASES.values()} | set(ALIASES) == public
    assert {function_of(build) for build, _, _ in COUNTS.values()} == public


@pytest.mark.parametrize(("alias", "original"), ALIASES.items())
def test_aliases_are_the_same_network(alias, original):
    with torch.device("meta"):
        for options in ({}, {"dropout": 0.2}):
            assert repr(alias(*CIFAR, **options)) == repr(original(*CIFAR, **options))


@pytest.mark.parametrize(("build", "arguments", "count"), COUNTS.values(), ids=COUNTS)
def test_parameter_count(build, arguments, count):
    with torch.device("meta"):
        assert num_parameters(build(*arguments)) == count


def test_counts_of_keskar_are_the_sums():
    """Closed form, layer by layer."""

    def dense(*widths):
        return sum(a * b + b for a, b in pairwise(widths))

    vgg = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    convs = sum(9 * a * b + b for a, b in pairwise(vgg))
    for classes, shallow, deep in ((10, "C1", "C2"), (100, "C3", "C4")):
        assert COUNTS[deep][2] == (convs + 2 * sum(vgg[1:]) + dense(512, 512, classes) + 2 * 512)
        assert COUNTS[shallow][2] == (
            (3 * 25 * 64 + 64) + (64 * 25 * 64 + 64) + 2 * 128
            + dense(64 * 8 * 8, 384, 192, classes) + 2 * (384 + 192)
        )  # fmt: skip
    assert COUNTS["F1"][2] == dense(784, *[512] * 5, 10) + 2 * 5 * 512
    assert COUNTS["F2"][2] == dense(360, *[512] * 7, 1973) + 2 * 7 * 512


def test_signature(name):
    """Shape and classes by position, the rest by keyword, dropout among them."""
    parameters = list(signature(function_of(CASES[name])).parameters.values())
    assert [p.name for p in parameters[:2]] == ["input_shape", "num_classes"]
    assert all(p.kind is Parameter.KEYWORD_ONLY for p in parameters[2:])
    assert "dropout" in {p.name for p in parameters}


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 13, 12), (3, 12, 21)], ids=str)
@pytest.mark.parametrize("classes", [1, 3])
def test_other_sizes_and_classes(build, shape, classes):
    model = build(shape, classes)
    assert model(images(2, shape)).shape == (2, classes)
    assert model.eval()(images(1, shape)).shape == (1, classes)


def test_the_least_size_works_and_a_smaller_one_is_refused(name, build):
    if name in FLAT:
        assert build((1,), 2)(torch.zeros(2, 1)).shape == (2, 2)
        return
    least = LEAST.get(name, 4)
    assert build((1, least, least + 1), 2)(images(2, (1, least, least + 1))).shape == (2, 2)
    with pytest.raises(ValueError, match=rf"sides of at least {least}; got {least}x{least - 1}\."):
        build((1, least, least - 1), 2)


def test_wrong_arguments(name, build):
    with pytest.raises(ValueError, match=r"`num_classes` must be a whole number of at least 1"):
        build((1, 16, 16), 0)
    with pytest.raises(ValueError, match=r"`dropout` must lie in \[0, 1\]; got 1.5"):
        build((1, 16, 16), 2, dropout=1.5)
    with pytest.raises(ValueError, match=r"`input_shape`"):
        build((), 2)
    if name in FLAT:
        assert build((5,), 2)(torch.zeros(3, 5)).shape == (3, 2)
    else:
        with pytest.raises(ValueError, match=r"must be \(channels, height, width\); got \(64,\)"):
            build((64,), 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_dtype_is_kept(build, dtype):
    x = images().to(dtype)
    for mode in (True, False):
        logits = build((2, 13, 12), 3).to(dtype).train(mode)(x)
        assert logits.dtype == dtype
        assert logits.isfinite().all()


def test_the_input_is_left_alone(build):
    x, untouched = images(), images()
    build((2, 13, 12), 3)(x)
    assert torch.equal(x, untouched)


def test_no_draws_in_a_forward_pass_without_dropout(build):
    model = build((2, 13, 12), 3)
    for mode in (True, False):
        state = torch.get_rng_state()
        model.train(mode)(images())
        assert torch.equal(torch.get_rng_state(), state)


def test_weights_come_from_the_default_generator(build):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(nn.utils.parameters_to_vector(build((2, 13, 12), 3).parameters()))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_gradients_reach_every_parameter(build):
    model = build((2, 13, 12), 3)
    F.cross_entropy(model(images(16)), torch.arange(16) % 3).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if not _feeds_batch_norm(model, key):
            assert parameter.grad.abs().sum() > 0, key


def _feeds_batch_norm(model, key):
    """A bias before BatchNorm is subtracted again: its gradient is 0 up to rounding."""
    layers = list(model.named_modules())
    following = {a: b for (a, _), (_, b) in pairwise(layers)}
    module, _, kind = key.rpartition(".")
    return kind == "bias" and isinstance(following.get(module), (nn.BatchNorm1d, nn.BatchNorm2d))


def test_examples_do_not_mix_in_evaluation(build):
    model = build((2, 13, 12), 3).eval()
    x = images(6)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


def test_state_dict_round_trip(build):
    first, second = build((2, 13, 12), 3), build((2, 13, 12), 3)
    first(images(8))  # moves running statistics
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(images()), second.eval()(images()))
    assert all(tensor.is_contiguous() for tensor in first.state_dict().values())


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_lanes_equal_the_loop(build, mode):
    """Twin: three networks vectorized give what they give one after the other."""
    lanes = [build((2, 13, 12), 3).double().train(mode) for _ in range(3)]
    parameters, buffers = stack_module_state(lanes)
    buffers = {key: value.clone() for key, value in buffers.items()}
    skeleton = build((2, 13, 12), 3).double().train(mode)
    x = images(8).double()

    def forward(p, b):
        return functional_call(skeleton, (p, b), (x,))

    together = vmap(forward)(parameters, buffers)
    one_by_one = torch.stack([lane(x) for lane in lanes])
    torch.testing.assert_close(together, one_by_one, rtol=1e-10, atol=1e-10)
    for key, value in buffers.items():
        expected = torch.stack([dict(lane.named_buffers())[key] for lane in lanes])
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


def test_memory_format_does_not_matter(name, build):
    model = build((2, 13, 12), 3).double().eval()
    x = images().double()
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    other = model(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(other, expected, rtol=1e-10, atol=1e-10)


def test_dropout_layers_are_there_to_be_set(build):
    model = build((2, 13, 12), 3)
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert layers
    assert all(layer.p == 0 and not layer.inplace for layer in layers)
    quiet = model.train()(images())
    for layer in layers:
        layer.p = 0.5
    assert not torch.equal(model(images()), quiet)
    others = build((2, 13, 12), 3, dropout=0.25).modules()
    assert {layer.p for layer in others if isinstance(layer, nn.Dropout)} == {0.25}


def test_outputs_start_at_a_trainable_size(build):
    """On standardized input the first loss is near that of guessing, log c."""
    model = build((3, 28, 28), 10)
    with torch.no_grad():
        loss = F.cross_entropy(model(images(64, (3, 28, 28))), torch.arange(64) % 10).item()
    assert loss < 2 * math.log(10)


def test_a_step_along_the_gradient_reduces_the_loss(build):
    model, x, y = build((2, 12, 13), 3), images(12, (2, 12, 13)), torch.arange(12) % 3
    before = F.cross_entropy(model(x), y)
    gradients = torch.autograd.grad(before, list(model.parameters()))
    squared = sum(g.square().sum() for g in gradients)
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter -= 1e-3 * before * gradient / squared
        after = F.cross_entropy(model(x), y)
    assert 0.99 * before < after < before


@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu(build):
    model = build((2, 13, 12), 3).double().eval()
    expected = model(images().double())
    actual = model.to("cuda")(images().double().to("cuda")).cpu()
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("hidden", [32, "32"])
def test_a_bare_width_is_refused(hidden):
    with pytest.raises(TypeError, match="`hidden` must be a list of widths"):
        models.mlp((4,), 2, hidden=hidden)
