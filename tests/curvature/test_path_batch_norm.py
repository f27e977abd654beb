"""Twin: BatchNorm statistics along paths, filter-normalized directions.

Oracle: one fresh training-mode pass over the whole split as a single batch; norms of filters.
"""

import copy

import pytest
import torch
from torch import nn

import gengap
from gengap.curvature import (
    filter_normalized_directions,
    filter_normalized_line,
    filter_normalized_plane,
    line,
)
from gengap.curvature._batch_statistics import recomputed
from gengap.data import Split
from gengap.models import resnet


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def images(n=21, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, 8, 8, generator=generator)
    return Split(inputs=x, targets=torch.arange(n) % 3, num_classes=3)


@pytest.fixture
def networks():
    return [seeded(lambda: resnet((1, 8, 8), 3, depth=8, width=4).double(), s) for s in (0, 1)]


def fresh_pass(model, point, split):
    """What one training-mode pass with momentum 1 leaves: the network, and its outputs."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(point[name])
    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    x, _ = split.batch()
    return twin.train(), twin(x.double())


@pytest.mark.parametrize("chunk", [5, 1000])
def test_statistics_are_those_of_a_fresh_training_pass(chunk, networks):
    split, (first, _) = images(), networks
    risk = gengap.Risk(first, split, chunk=chunk)
    before = {name: value.clone() for name, value in risk.model.state_dict().items()}
    batches = lambda: (x for x, _ in risk.batches())  # noqa: E731
    found = recomputed(risk.model, risk.params, batches, exact=True)
    twin, _ = fresh_pass(first, risk.params, split)
    names = [name for name, _ in twin.named_buffers() if "running" in name]
    assert sorted(found) == sorted(names)
    for name in names:
        torch.testing.assert_close(found[name], twin.get_buffer(name), rtol=1e-10, atol=1e-12)
    for name, value in risk.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_average_over_chunks_is_near_and_the_first_layers_exact(networks):
    split, (first, _) = images(64), networks
    risk = gengap.Risk(first, split, chunk=32)
    batches = lambda: (x for x, _ in risk.batches())  # noqa: E731
    exact = recomputed(risk.model, risk.params, batches, exact=True)
    near = recomputed(risk.model, risk.params, batches, exact=False)
    first_layer = next(iter(exact)).rsplit(".", 1)[0]
    for key in ("running_mean", "running_var"):
        torch.testing.assert_close(near[f"{first_layer}.{key}"], exact[f"{first_layer}.{key}"])
    assert any(not torch.equal(near[name], exact[name]) for name in exact)
    for name in exact:
        torch.testing.assert_close(near[name], exact[name], rtol=0.2, atol=0.05)


def test_a_line_recomputes_them_at_every_point(networks):
    split, test, (first, second) = images(), images(9, seed=1), networks
    risk = gengap.Risk(first, split, chunk=4)
    found = line(risk, None, second, test=test, alphas=[0.0, 0.5, 1.0])
    for turn, alpha in enumerate(found.alphas.tolist()):
        ends = zip(first.named_parameters(), second.parameters(), strict=True)
        point = {name: (1 - alpha) * a.detach() + alpha * b.detach() for (name, a), b in ends}
        twin, _ = fresh_pass(first, point, split)
        x, y = test.batch()
        expected = nn.functional.cross_entropy(twin.eval()(x.double()), y).detach()
        assert float(found.losses["test"][turn]) == pytest.approx(float(expected), rel=1e-9)


def test_kept_statistics_and_those_of_another_split_are_options(networks):
    split, (first, second) = images(), networks
    risk = gengap.Risk(first, split)
    kept = line(risk, None, second, alphas=[0.0, 1.0], batch_norm="keep")
    assert float(kept.losses["train"][0]) == pytest.approx(risk(), rel=1e-12)
    assert float(kept.losses["train"][1]) == pytest.approx(
        risk(dict(second.named_parameters())), rel=1e-12
    )
    other = line(risk, None, second, alphas=[0.0], statistics=images(30, seed=3))
    own = line(risk, None, second, alphas=[0.0])
    assert float(other.losses["train"]) != float(own.losses["train"])


def test_a_layer_that_is_called_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = nn.BatchNorm2d(1), nn.Linear(64, 3)

        def forward(self, x):
            return self.head(self.norm(self.norm(x)).flatten(1))

    risk = gengap.Risk(seeded(Twice), images())
    with pytest.raises(ValueError, match=r"'norm' called 2 times\. Take batch_norm='keep'"):
        line(risk, None, risk.params)
    assert len(line(risk, None, risk.params, batch_norm="keep")) == 25


class Kinds(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.up = nn.ConvTranspose2d(4, 6, 2, groups=2, bias=False)
        self.deep = nn.Conv2d(6, 6, 1, groups=6)
        self.layer = nn.LayerNorm((9, 9))
        self.head = nn.Linear(6 * 81, 3)

    def forward(self, x):
        x = self.layer(self.deep(self.up(self.norm(self.conv(x)).relu())))
        return self.head(x.flatten(1))


def filters(name, value):
    """One row a filter; of a transposed convolution with 2 groups, by a plain loop."""
    if name != "up.weight":
        return value.flatten(1)
    per_group = value.shape[0] // 2
    return torch.stack([
        value[g * per_group : (g + 1) * per_group, j].flatten()
        for g in range(2)
        for j in range(value.shape[1])
    ])


def test_directions_have_the_norms_of_the_filters_and_are_orthogonal():
    risk = gengap.Risk(seeded(Kinds), images(6), dtype=torch.float64)
    first, second = filter_normalized_directions(risk)
    for name, value in risk.params.items():
        if name in {"conv.weight", "up.weight", "head.weight"}:
            for direction in (first, second):
                lengths = filters(name, direction[name]).norm(dim=1)
                torch.testing.assert_close(lengths, filters(name, value).norm(dim=1))
            products = (filters(name, first[name]) * filters(name, second[name])).sum(1)
            torch.testing.assert_close(products, torch.zeros_like(products), atol=1e-12, rtol=0)
        elif name == "deep.weight":  # one weight a filter: only one direction
            torch.testing.assert_close(first[name].abs(), value.abs())
            assert not bool(second[name].any())
        else:
            assert not bool(first[name].any()), name
    again, _ = filter_normalized_directions(risk)
    other, _ = filter_normalized_directions(risk, seed=1)
    assert torch.equal(first["conv.weight"], again["conv.weight"])
    assert not torch.equal(first["conv.weight"], other["conv.weight"])


def test_the_plane_of_a_rescaled_relu_network_without_biases_is_the_same():
    net = seeded(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(64, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)
        ).double()
    )
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin[1].weight.mul_(10.0)
        twin[3].weight.div_(10.0)
    planes = [filter_normalized_plane(gengap.Risk(m, images()), size=3) for m in (net, twin)]
    torch.testing.assert_close(planes[0].losses["train"], planes[1].losses["train"])
    assert planes[0].kind == "random plane"
    along = filter_normalized_line(gengap.Risk(net, images()), alphas=[-1, 0, 1])
    assert float(along.losses["train"][1]) == pytest.approx(gengap.Risk(net, images())())
    assert float(along.losses["train"][2]) == pytest.approx(
        float(planes[0].losses["train"][5]), rel=1e-9
    )
