"""Twin and property: norms of layers against dense matrices; bounds above what training reaches.

Oracle: the Jacobian of a layer as its matrix, paths counted one by one, formulas by hand, the
trained Rademacher complexity of networks that cannot leave their norms.
"""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import jacrev
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from gengap import Recipe, fit, measures, models
from gengap.capacity import bounded, capacity_bounds, normalized_margins, rademacher
from gengap.capacity._chain import chain
from gengap.capacity._chain_norms import (
    last_rows,
    log_frobenius,
    patch_squares,
    path_norm,
    seen_positions,
    spectral_complexity,
)  # fmt: skip
from gengap.capacity._norm_bounds import _COMPLEXITIES, least_margin_bound
from gengap.capacity._operator import operator
from gengap.capacity._vc import vc_bound, vc_dimension
from gengap.data import Split, as_split
from gengap.models._same import SameConv2d, SameMaxPool2d
from gengap.training import Packing

TOGETHER = Packing(64, 1, "A test.")
LAYERS = {
    "linear": (lambda: nn.Linear(7, 4), (7,)),
    "valid": (lambda: nn.Conv2d(2, 3, 3), (2, 6, 5)),
    "strided": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 6, 7)),
    "dilated": (lambda: nn.Conv2d(2, 4, 2, dilation=2, groups=2, bias=False), (2, 5, 5)),
    "same": (lambda: SameConv2d(2, 3, 5, stride=2), (2, 6, 6)),
}


def made(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def matrix(layer, shape):
    """The layer as a dense matrix with its bias as the last column."""
    twin, zero = layer.double(), torch.zeros(1, *shape, dtype=torch.float64)
    jacobian = jacrev(lambda x: twin(x).flatten())(zero).detach()
    dense = jacobian.reshape(len(jacobian), -1)
    return torch.cat([dense, twin(zero).detach().flatten()[:, None]], 1).numpy()


@pytest.mark.parametrize("name", LAYERS)
def test_norms_of_a_layer_are_those_of_its_matrix(name):
    build, shape = LAYERS[name]
    layer = made(build)
    dense, own = matrix(layer, shape), operator(layer, shape)
    plain, bias = dense[:, :-1], dense[:, -1]
    np.testing.assert_allclose(own.full_bias(), bias, atol=1e-12)
    np.testing.assert_allclose(own.row_sums(2), (plain**2).sum(1), rtol=1e-9)
    np.testing.assert_allclose(own.row_sums(1), np.abs(plain).sum(1), rtol=1e-9)
    assert own.spectral_norm() == pytest.approx(np.linalg.norm(plain, 2), rel=1e-6)
    last = np.linalg.norm(dense, 2)
    assert own.spectral_norm(augmented=True, last=True) == pytest.approx(last, rel=1e-6)
    constant = np.zeros((1, dense.shape[1]))
    constant[0, -1] = 1
    hidden = np.linalg.norm(np.concatenate([dense, constant]), 2)
    assert own.spectral_norm(augmented=True) == pytest.approx(hidden, rel=1e-6)


PARAMETRIZED = {
    "weight": weight_norm,
    "bias too": lambda layer: weight_norm(weight_norm(layer), name="bias", dim=None),
    "power iteration": spectral_norm,
}


@pytest.mark.parametrize("kind", PARAMETRIZED)
@pytest.mark.parametrize("name", ["linear", "valid"])
def test_a_parametrized_layer_is_read_and_left_alone(name, kind):
    build, shape = LAYERS[name]
    layer = made(lambda: PARAMETRIZED[kind](build()))
    other, before = copy.deepcopy(layer), copy.deepcopy(layer.state_dict())
    own = operator(layer, shape)
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    found = own.apply(x.double()).flatten(1) + own.full_bias()
    for twin in (layer, other):
        wanted = twin.eval()(x).detach().double().flatten(1)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        assert twin.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert type(own.layer) in (nn.Linear, nn.Conv2d)
    assert len(list(own.layer.parameters())) == 2


def test_bounds_of_a_parametrized_network_are_those_of_the_plain_one():
    def build(wrap=lambda layer: layer):
        return nn.Sequential(wrap(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 3))

    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    split = as_split(x, torch.arange(40) % 3)
    names = ["loss", "vc_dimension", "spectral_bound"]
    model, plain = made(lambda: build(weight_norm)), made(build)
    found, wanted = (measures.evaluate(m, split, names=names) for m in (model, plain))
    assert np.isfinite(wanted["value"].astype(float)).all()
    np.testing.assert_allclose(found["value"], wanted["value"], rtol=1e-5)
    torch.testing.assert_close(model(x), plain(x))


def conv_net(bias=True):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=bias), nn.ReLU(), nn.Conv2d(3, 4, 2, stride=2, bias=bias),
        nn.ReLU(), nn.Flatten(), nn.Linear(16, 3, bias=bias),
    )  # fmt: skip


def images(n=20, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Split(
        inputs=torch.rand(n, 1, 6, 6, generator=g), num_classes=classes,
        targets=torch.randint(classes, (n,), generator=g),
    )  # fmt: skip


def test_a_chain_with_batch_norm_is_the_network():
    def build():
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
            nn.Linear(48, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2),
        )  # fmt: skip

    model, x = made(build).double(), images().batch()[0].double()
    with torch.no_grad():
        model.train()[3].eval()
        model(x)
        wanted = model.eval()(x)
        h = x
        for link in chain(model, x[:1]):
            own = link.operator
            h = own.apply(h.reshape(len(x), *own.input_shape))
            h = h.flatten(1) + own.full_bias()
            h = h.relu() if link.rectified else h
    torch.testing.assert_close(h, wanted)


def test_complexities_are_their_formulas():
    model = made(
        lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    )
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    one, two = (p.detach().double().numpy() for p in model.parameters())
    links, squares = chain(model, x[:1]), x.double().square().sum(0)
    size = np.linalg.norm(two, axis=1).sum() * np.linalg.norm(one) * np.linalg.norm(x) / 9
    found = {name: f(links, squares, 9) for name, f in _COMPLEXITIES.items()}
    assert found["frobenius"] == pytest.approx(2 * size)
    assert found["golowich"] == pytest.approx((math.sqrt(4 * math.log(2)) + 1) * size)
    assert found["patch"] == pytest.approx(found["golowich"])
    paths = np.abs(two) @ np.abs(one)
    column = float(squares.max())
    depth = math.sqrt((3 + math.log(5)) * max(column, 9))
    assert found["path"] == pytest.approx(2 * paths.sum() * depth / 9)
    tops = [np.linalg.norm(w, 2) for w in (one, two)]
    away = [np.linalg.norm(w, axis=1).sum() for w in (one, two)]
    spread = sum((b / s) ** (2 / 3) for b, s in zip(away, tops, strict=True)) ** 1.5
    assert spectral_complexity(links) == pytest.approx(tops[0] * tops[1] * spread)
    assert spectral_complexity(links, links) == 0


def test_the_patch_bound_by_hand():
    model = made(lambda: conv_net(bias=False)).double()
    split = images()
    x = split.batch()[0].double()
    links = chain(model, x[:1])
    assert seen_positions(links) == [4, 4]
    patches = torch.nn.functional.unfold(x, 3).square().sum((0, 1)).max()
    assert patch_squares(links, x.square().sum(0), 20) == pytest.approx(float(patches))
    first, second = (model[k].weight.detach().norm().item() for k in (0, 2))
    depth = math.sqrt(2 * (math.log(2) + 2 * math.log(8))) + 1
    wanted = depth * 2 * first * 2 * second * last_rows(links) * float(patches) ** 0.5 / 20
    found = {k: f(links, x.square().sum(0), 20) for k, f in _COMPLEXITIES.items()}
    assert found["patch"] == pytest.approx(wanted)
    assert found["patch"] < found["golowich"]
    blocks = [matrix(model[k], s)[:, :-1] for k, s in ((0, (1, 6, 6)), (2, (3, 4, 4)))]
    product = sum(math.log(np.linalg.norm(b)) for b in blocks)
    assert log_frobenius(links) == pytest.approx(product)


def test_paths_are_counted_one_by_one_and_survive_rescaling():
    model = made(lambda: nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))).double()
    one, b, two, c = (p.detach().numpy() for p in model.parameters())
    total = np.abs(c).sum()
    for k, j in itertools.product(range(2), range(2)):
        total += abs(two[k, j] * b[j]) + sum(abs(two[k, j] * one[j, i]) for i in range(3))
    x = torch.zeros(1, 3)
    assert path_norm(chain(model, x)) == pytest.approx(total)
    with torch.no_grad():
        model[0].weight[0] *= 7
        model[0].bias[0] *= 7
        model[2].weight[:, 0] /= 7
    assert path_norm(chain(model, x)) == pytest.approx(total)


@pytest.mark.parametrize("kind", ["line", "fully connected", "convolutional"])
def test_training_cannot_exceed_the_bounds(kind):
    def build():
        layers = {
            "line": [nn.Flatten(), nn.Linear(36, 1, bias=False)],
            "fully connected": [
                nn.Flatten(), nn.Linear(36, 12, bias=False), nn.ReLU(), nn.Linear(12, 1, bias=False)
            ],
            "convolutional": [
                nn.Conv2d(1, 4, 3, stride=3, bias=False), nn.ReLU(), nn.Flatten(),
                nn.Linear(16, 1, bias=False),
            ],
        }  # fmt: skip
        return bounded(nn.Sequential(*layers[kind]), radius=1.0)

    x = images(16).inputs - 0.5
    split = as_split(x, torch.zeros(16, 1), regression=True)
    found = rademacher(build, split, functions="values", draws=8, packing=TOGETHER)
    model = made(build)
    with torch.no_grad():
        for layer in model:
            if hasattr(layer, "parametrizations"):
                layer.parametrizations.weight.original.mul_(100)
    links, squares = chain(model, x[:1]), x.double().square().sum(0)
    for name in ("frobenius", "golowich", "patch"):
        limit = _COMPLEXITIES[name](links, squares, 16)
        assert 0 < found.value - 2 * found.standard_error <= limit, name
    if kind == "line":
        assert _COMPLEXITIES["frobenius"](links, squares, 16) < 1.6 * found.value


def test_the_vc_dimension_counts_signs():
    line = chain(made(lambda: nn.Linear(5, 2)), torch.zeros(1, 5))
    r = 16.0
    assert vc_dimension(line) == pytest.approx(1 + 12 * math.log2(2 * r * math.log2(r)))
    assert vc_dimension(line) > 6, "a line in five dimensions shatters six points"
    net = chain(
        made(lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))), torch.zeros(1, 5)
    )
    r = 2 * math.e * (8 + 2 * 3)
    assert vc_dimension(net) == pytest.approx(2 + (48 + 75) * math.log2(2 * r * math.log2(r)))
    pool = made(lambda: nn.Sequential(
        SameConv2d(1, 2, 3), nn.ReLU(), SameMaxPool2d(2, stride=2), nn.Flatten(), nn.Linear(18, 2)
    ))  # fmt: skip
    links = chain(pool, torch.zeros(1, 1, 6, 6))
    r = 2 * math.e * (72 + 18 * 6 + 2)
    assert vc_dimension(links) == pytest.approx(2 + (20 + 58) * math.log2(2 * r * math.log2(r)))
    few, many = vc_bound(line, 50), vc_bound(line, 100_000)
    assert few.value == math.inf and few.vacuous and "beyond any number" in few.sentence
    v = many.complexity
    wanted = math.sqrt(2 * v * math.log(math.e * 1e5 / v) / 1e5) + math.sqrt(math.log(20) / 2e5)
    assert many.value == pytest.approx(wanted) and not many.vacuous


def test_a_margin_is_chosen_where_the_bound_is_least():
    margins = torch.tensor([-1.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    value, width = least_margin_bound(margins, lambda gamma: 0.0)
    assert value < 0.02 and width < 1.1
    value, width = least_margin_bound(margins, lambda gamma: 1000 / gamma)
    assert width == 4 and value == pytest.approx((1 + 0.75 + 0.5) / 4 - 0.25 + 250)
    assert least_margin_bound(-margins.abs(), lambda gamma: 0.0)[0] == math.inf


def test_bounds_of_a_trained_network_say_that_they_are_vacuous():
    split = images(30)
    run = fit(conv_net, split, recipe=Recipe(epochs=20, lr=0.05, batch_size=10))
    found = capacity_bounds(run.model, split)
    assert [b.name for b in found] == ["frobenius", "golowich", "patch", "path", "spectral", "VC"]
    assert all(b.vacuous and "vacuous" in b.sentence for b in found)
    moved = capacity_bounds(run.model, split, names=["spectral"], start=made(conv_net))
    assert moved[0].complexity != found[4].complexity
    margins = normalized_margins(run.model, split)
    size = math.sqrt(float(split.inputs.double().square().sum()) + 30) / 30
    assert margins.complexity == pytest.approx(found[4].complexity)
    torch.testing.assert_close(margins.values, margins.margins / (margins.complexity * size))
    assert margins.quantile(0.5) == pytest.approx(float(margins.values.median()), rel=0.5)


def test_a_large_sample_has_a_bound_that_says_something():
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (20_000,), generator=g)
    split = Split(inputs=(2.0 * y[:, None] - 1), targets=y, num_classes=2)
    line = made(lambda: nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    found = {b.name: b for b in capacity_bounds(line, split)}
    assert not found["golowich"].vacuous and not found["VC"].vacuous
    assert "it is not vacuous" in found["golowich"].sentence
    assert found["frobenius"].value > 0


def test_what_has_no_bound_is_one_sentence():
    split = images()
    with pytest.raises(ValueError, match="chain of Linear, Conv2d"):
        capacity_bounds(made(lambda: models.resnet((1, 6, 6), 3)), split)
    pooled = made(lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    ))  # fmt: skip
    assert [b.name for b in capacity_bounds(pooled, split)] == ["spectral", "VC"]
    with pytest.raises(ValueError, match="must not have max pooling"):
        capacity_bounds(pooled, split, names=["golowich"])
    bent = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Linear(4, 3)))
    with pytest.raises(ValueError, match="a ReLU behind every Linear"):
        capacity_bounds(bent, split)
    with pytest.raises(ValueError, match="`names` must be one of"):
        capacity_bounds(pooled, split, names=["margin"])
    real = Split(inputs=torch.ones(3, 2), targets=torch.ones(3, 1))
    with pytest.raises(ValueError, match="must have classes"):
        capacity_bounds(made(lambda: nn.Linear(2, 1)), real)
