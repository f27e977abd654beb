"""Twin: layers against slow, obvious versions of TensorFlow's definitions."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.models._inception import ShiftBatchNorm2d
from gengap.models._local_response_norm import LocalResponseNorm
from gengap.models._same import SameConv2d, SameMaxPool2d, same_padding

pytestmark = pytest.mark.global_rng


def randn(*shape):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def same_windows(x, kernel, stride):
    """Yield output position and input window, cut at the borders, by TensorFlow's rule."""
    starts = []
    for size in x.shape[-2:]:
        outputs = math.ceil(size / stride)
        before = max((outputs - 1) * stride + kernel - size, 0) // 2
        starts.append([i * stride - before for i in range(outputs)])
    for i, top in enumerate(starts[0]):
        for j, left in enumerate(starts[1]):
            yield i, j, top, left


@pytest.mark.parametrize("size", [(6, 6), (7, 7), (6, 7), (1, 5), (2, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (3, 1)])
def test_same_max_pool(size, kernel, stride):
    x = randn(2, 3, *size) - 10  # all negative: a padding of zeros would win
    pooled = SameMaxPool2d(kernel, stride=stride)(x)
    assert pooled.shape[-2:] == tuple(math.ceil(side / stride) for side in size)
    for i, j, top, left in same_windows(x, kernel, stride):
        window = x[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
        assert torch.equal(pooled[:, :, i, j], window.amax((2, 3)))


@pytest.mark.parametrize("size", [(6, 6), (7, 7), (6, 7), (1, 5)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1), (3, 1), (1, 1)])
def test_same_conv(size, kernel, stride):
    x = randn(2, 3, *size)
    layer = SameConv2d(3, 4, kernel, stride=stride).double()
    out = layer(x)
    assert out.shape[-2:] == tuple(math.ceil(side / stride) for side in size)
    for i, j, top, left in same_windows(x, kernel, stride):
        window = torch.zeros(2, 3, kernel, kernel, dtype=x.dtype)
        for row in range(kernel):
            for column in range(kernel):
                if 0 <= top + row < size[0] and 0 <= left + column < size[1]:
                    window[:, :, row, column] = x[:, :, top + row, left + column]
        expected = torch.einsum("bchw,ochw->bo", window, layer.weight) + layer.bias
        torch.testing.assert_close(out[:, :, i, j], expected, rtol=1e-10, atol=1e-10)


def test_padding_of_stride_two_on_even_sides_is_after():
    assert same_padding(28, kernel=3, stride=2) == (0, 1)
    assert same_padding(7, kernel=3, stride=2) == (1, 1)
    assert same_padding(28, kernel=5, stride=1) == (2, 2)


@pytest.mark.parametrize("channels", [1, 5, 64])
def test_local_response_norm_is_tensorflows(channels):
    """Definition of tf.nn.lrn with depth radius 4, bias 1, alpha 0.001 / 9, beta 0.75."""
    x = 5 * randn(2, channels, 3, 4)
    layer = LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1.0)
    for d in range(channels):
        window = x[:, max(d - 4, 0) : d + 5]
        expected = x[:, d] / (1 + 0.001 / 9 * window.square().sum(1)) ** 0.75
        torch.testing.assert_close(layer(x)[:, d], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("beta", [0.75, 0.5])
def test_local_response_norm_is_pytorchs(beta):
    layers = [
        kind(5, alpha=0.2, beta=beta, k=2.0) for kind in (LocalResponseNorm, nn.LocalResponseNorm)
    ]
    results = []
    for layer in layers:
        x = randn(2, 7, 3, 4).requires_grad_()
        layer(x).square().sum().backward()
        results.append((layer(x), x.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_shift_batch_norm_has_a_shift_and_no_scale():
    layer = ShiftBatchNorm2d(3).double()
    assert [key for key, _ in layer.named_parameters()] == ["bias"]
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = randn(4, 3, 5, 5)
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    expected = (x - mean) / (var + 1e-3).sqrt() + layer.bias.view(1, 3, 1, 1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.running_mean, 0.1 * mean.flatten(), rtol=1e-10, atol=1e-10)


def test_pooling_before_relu_is_relu_before_pooling():
    x, pool = randn(2, 3, 8, 8), SameMaxPool2d(3, stride=2)
    assert torch.equal(F.relu(pool(x)), pool(F.relu(x)))


def test_resnet_shortcut_takes_every_second_position_and_adds_zeros():
    from gengap.models._resnet import _Block

    block = _Block(2, 4, stride=2).double()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = randn(3, 2, 5, 6)
    out = block(x)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2].relu())
    assert not out[:, [0, 3]].any()


def test_resnet_depth_is_checked():
    from gengap.models import resnet

    with pytest.raises(ValueError, match=r"`depth` must be 6 k \+ 2, as in 20, 32, .*; got 18\."):
        resnet((3, 32, 32), 10, depth=18)


def test_keskar_dropout_is_the_papers_unless_given():
    from gengap.models import keskar_c1, keskar_c2

    def rates(model):
        return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]

    with torch.device("meta"):
        assert rates(keskar_c1((3, 32, 32), 10)) == [0.5, 0.5]
        assert rates(keskar_c2((3, 32, 32), 10)) == [0.3, *[0.4] * 7, 0.5, 0.5]
        assert set(rates(keskar_c2((3, 32, 32), 10, dropout=0.0))) == {0.0}
