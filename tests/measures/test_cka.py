"""Twin: HSIC of n x n kernel matrices; invariance: rotation, scale, shift; closed form: chance."""

import math

import pytest
import torch
from torch import nn

from gengap.data import Split
from gengap.measures import cka, linear_cka
from gengap.models import mlp


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gram_twin(x, y, *, debiased):
    """CKA by the definitions: centering matrices, or U-statistics over distinct examples."""
    n = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741

    def hsic(k, l):  # noqa: E741
        if not debiased:
            h = torch.eye(n, dtype=k.dtype) - 1 / n
            return torch.trace(k @ h @ l @ h)
        k, l = (m - torch.diag(m.diag()) for m in (k, l))  # noqa: E741
        ones = torch.ones(n, dtype=k.dtype)
        first = torch.trace(k @ l)
        second = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
        return first + second - 2 / (n - 2) * (ones @ k @ l @ ones)

    return float(hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt())


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("features", [(3, 5), (40, 60)])
def test_it_is_hsic_of_kernel_matrices(debiased, features):
    n, (d, e) = 30, features
    x = drawn(n, d) + 3
    y = x[:, :1] * 0.8 + drawn(n, e, seed=1)
    found = linear_cka(x, y, debiased=debiased)
    assert float(found) == pytest.approx(gram_twin(x, y, debiased=debiased), rel=1e-10)
    assert found.examples == n
    assert math.isnan(found.standard_error)


@pytest.mark.parametrize("debiased", [True, False])
def test_rotation_scale_and_shift_keep_it_and_other_maps_do_not(debiased):
    x = drawn(50, 6)
    y = torch.tanh(x @ drawn(6, 4, seed=1)) + 0.1 * drawn(50, 4, seed=2)
    rotation = torch.linalg.qr(drawn(6, 6, seed=3))[0]
    plain = linear_cka(x, y, debiased=debiased).value
    moved = linear_cka(-7 * x @ rotation + 100, 1e-3 * y - 5, debiased=debiased).value
    assert moved == pytest.approx(plain, rel=1e-9)
    assert linear_cka(x, x @ rotation, debiased=debiased).value == pytest.approx(1, rel=1e-12)
    stretched = x * torch.tensor([100.0, 1, 1, 1, 1, 1])
    assert abs(linear_cka(stretched, y, debiased=debiased).value - plain) > 0.05
    assert linear_cka(y, x, debiased=debiased).value == pytest.approx(plain, rel=1e-12)


def test_many_features_make_the_plain_value_large_and_not_the_debiased_one():
    x, y = drawn(40, 2000), drawn(40, 2000, seed=1)
    assert linear_cka(x, y, debiased=False).value > 0.9
    assert abs(linear_cka(x, y).value) < 0.1


def test_independent_features_average_to_zero():
    values = [
        linear_cka(drawn(20, 4, seed=s), drawn(20, 4, seed=s + 500)).value for s in range(300)
    ]
    mean = torch.tensor(values, dtype=torch.float64)
    assert abs(float(mean.mean())) < 4 * float(mean.std()) / 300**0.5
    assert float(mean.min()) < 0


def test_the_standard_error_is_the_spread_over_samples():
    def sample(seed):
        x = drawn(400, 5, seed=seed)
        return linear_cka(x, x[:, :3] + drawn(400, 3, seed=seed + 10_000))

    found = [sample(seed) for seed in range(60)]
    spread = torch.tensor([one.value for one in found], dtype=torch.float64).std()
    told = sum(one.standard_error for one in found) / len(found)
    assert told == pytest.approx(float(spread), rel=0.3)


@pytest.fixture
def split():
    x = drawn(120, 6).float()
    return Split(inputs=x, targets=torch.arange(120) % 3, num_classes=3)


def network(seed, hidden=(8,)):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return mlp((6,), 3, hidden=hidden)


def test_networks_are_compared_by_their_softmax_or_a_layer(split):
    first, second = network(0), network(1, hidden=(11,))
    x = split.batch()[0]
    plain = cka(first, second, split, mixup=None, examples=None, chunk=50)
    probabilities = [net(x).detach().double().softmax(1) for net in (first, second)]
    assert plain.value == pytest.approx(linear_cka(*probabilities).value, rel=1e-5)
    hidden = cka(first, second, split, layer="1", mixup=None, examples=None)
    layers = [net[1](net[0](x)).detach() for net in (first, second)]
    assert hidden.value == pytest.approx(linear_cka(*layers).value, rel=1e-5)
    assert not math.isnan(plain.standard_error)
    with pytest.raises(ValueError, match="`layer` must be the name of a module"):
        cka(first, second, split, layer="convolution")


def test_exchanged_hidden_units_are_the_same_layer(split):
    first, second = network(0), network(0)
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    with torch.no_grad():
        second[1].weight.copy_(first[1].weight[order])
        second[1].bias.copy_(first[1].bias[order])
    assert cka(first, second, split, layer="1").value == pytest.approx(1, abs=1e-6)


def test_mixtures_lie_between_examples_and_repeat(split):
    first, second = network(0), network(1)
    one, again = (cka(first, second, split, examples=90) for _ in range(2))
    assert one == again
    assert one.examples == 90
    assert one.value != cka(first, second, split, examples=90, seed=1).value
    assert one.value != cka(first, second, split, examples=90, mixup=None).value
    flat = Split(inputs=torch.ones(90, 6), targets=torch.zeros(90).long(), num_classes=3)
    assert math.isnan(cka(first, second, flat).value)


def test_the_networks_are_left_as_they_were(split):
    first, second = network(0), nn.Sequential(network(1), nn.Dropout(0.5))
    second[0].eval()
    cka(first, second, split)
    assert [second.training, second[0].training, second[1].training] == [True, False, True]
    assert not first[1]._forward_hooks


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (torch.zeros(5, 2), torch.zeros(6, 2), "`second` must have the 5 examples"),
        (torch.zeros(3, 2), torch.zeros(3, 2), "`first` must have at least 4 examples"),
        (torch.zeros(5), torch.zeros(5), "`first` must be features of examples"),
        (torch.zeros(5, 1), torch.full((5, 1), math.nan), "`second` must be finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(x, y, said):
    with pytest.raises(ValueError, match=said):
        linear_cka(x, y)
