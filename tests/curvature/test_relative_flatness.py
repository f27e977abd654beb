"""Twin: relative flatness and the Fisher-Rao norm from dense Hessians and single gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from gengap import Risk
from gengap.curvature import fisher_rao_norm, relative_flatness
from gengap.data import Split, gaussian_clusters
from gengap.models import lenet
from tests.curvature.quadratic import FIRST, SECOND, network, rescaled
from tests.reference.coherence import stacked


def definition(risk, name):
    """The sum over pairs of rows of inner product times trace of the block of the Hessian."""
    x, y = risk.split.batch()

    def loss(w):
        outputs = functional_call(risk.model, {f"{name}.weight": w}, (x.double(),))
        return risk.losses(outputs, y).mean()

    w = risk.params[f"{name}.weight"].clone()
    blocks = jacrev(jacrev(loss))(w)  # [m, d, m, d]
    traces = torch.einsum("skrk->sr", blocks)
    return (w @ w.T * traces).sum().item()


@pytest.mark.parametrize("layer", ["0", "2"])
def test_relative_flatness_is_its_definition(layer):
    model, split = network(steps=30)
    risk = Risk(model, split, chunk=17)
    found = relative_flatness(risk, layer=layer)
    assert found.value == pytest.approx(definition(risk, layer), rel=1e-9)
    assert found.standard_error == 0 and found.layer == layer
    assert relative_flatness(risk).value == relative_flatness(risk, layer="2").value


def test_a_wide_layer_is_estimated_within_its_standard_error():
    model, split = network(hidden=80, steps=10)
    risk = Risk(model, split)
    wanted = definition(risk, "0")
    found = relative_flatness(risk, layer="0", draws=200)
    assert 0 < found.standard_error < 0.1 * abs(wanted)
    assert abs(found.value - wanted) < 4 * found.standard_error


def test_relative_flatness_bears_factors_of_layers_but_not_of_the_units_before():
    model, split = network(steps=30)
    value = relative_flatness(Risk(model, split)).value
    by_layer = rescaled(model, FIRST, SECOND, 50.0)
    assert relative_flatness(Risk(by_layer, split)).value == pytest.approx(value, rel=1e-9)
    by_unit = rescaled(model, (), (), 1.0)
    factors = torch.logspace(-1, 1, 8, dtype=torch.float64)
    with torch.no_grad():
        by_unit[0].weight *= factors[:, None]
        by_unit[0].bias *= factors
        by_unit[2].weight /= factors
    assert Risk(by_unit, split)() == pytest.approx(Risk(model, split)())
    assert relative_flatness(Risk(by_unit, split)).value != pytest.approx(value, rel=0.05)


def test_the_fisher_rao_norm_is_the_norm_of_single_derivatives():
    model, split = network(steps=30)
    risk = Risk(model, split, chunk=17)
    gradients = np.concatenate(list(stacked(risk).values()), axis=1)
    theta = np.concatenate([p.numpy().ravel() for p in risk.params.values()])
    squares = (gradients @ theta) ** 2
    found = fisher_rao_norm(risk)
    assert found.value == pytest.approx(np.sqrt(squares.mean()), rel=1e-9)
    assert found.sampling_error == pytest.approx(
        squares.std(ddof=1) / np.sqrt(len(squares)) / 2 / found.value
    )


def test_the_true_fisher_rao_norm_draws_labels_from_the_predictions():
    model, split = network(steps=30, n=20)
    x, _ = split.batch()
    chances = model(x.double()).softmax(-1).detach().numpy()
    total = 0.0
    for label in range(3):
        risk = Risk(model, type(split)(inputs=split.inputs, targets=torch.full((20,), label),
                                       num_classes=3))  # fmt: skip
        gradients = np.concatenate(list(stacked(risk).values()), axis=1)
        theta = np.concatenate([p.numpy().ravel() for p in risk.params.values()])
        total += chances[:, label] @ (gradients @ theta) ** 2 / 20
    found = fisher_rao_norm(Risk(model, split), kind="true")
    assert found.value == pytest.approx(np.sqrt(total), rel=1e-9)


def test_without_biases_it_is_the_number_of_layers_times_the_derivative_along_the_outputs():
    split = gaussian_clusters(30, dim=5, num_classes=3, separation=1.0, seed=0)
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(
            *(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 6, bias=False), nn.ReLU()),
            nn.Linear(6, 3, bias=False),
        ).double()
    x, y = split.batch()
    outputs = model(x.double()).detach().requires_grad_()
    slopes = torch.autograd.grad(nn.functional.cross_entropy(outputs, y, reduction="sum"), outputs)
    squares = (slopes[0] * outputs.detach()).sum(1).square()
    found = fisher_rao_norm(Risk(model, split))
    assert found.value == pytest.approx(3 * float(squares.mean()) ** 0.5, rel=1e-9)


def test_the_fisher_rao_norm_bears_rescaling():
    model, split = network(steps=30)
    twin = rescaled(model, FIRST, SECOND, 100.0)
    for kind in ("empirical", "true"):
        one, other = (fisher_rao_norm(Risk(m, split), kind=kind).value for m in (model, twin))
        assert other == pytest.approx(one, rel=1e-9)


def test_a_convolutional_network_has_both():
    with torch.random.fork_rng(devices=[]):
        model = lenet((1, 28, 28), 10)
    split = gaussian_clusters(6, dim=784, num_classes=10, separation=1.0, seed=0)
    images = type(split)(
        inputs=split.inputs.view(6, 1, 28, 28), targets=split.targets, num_classes=10
    )
    risk = Risk(model, images)
    assert fisher_rao_norm(risk).value > 0 and relative_flatness(risk).value > 0


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.out = nn.Conv1d(6, 3, 1)

    def forward(self, x):
        return self.out(self.layer(self.layer(x))[..., None])[..., 0]


def test_what_cannot_be_is_told():
    model, split = network()
    with pytest.raises(ValueError, match=r"`layer` must be one of 0, 2; got 'head'"):
        relative_flatness(Risk(model, split), layer="head")
    with torch.random.fork_rng(devices=[]):
        twice, conv = Twice(), nn.Sequential(nn.Unflatten(1, (6, 1)), nn.Conv1d(6, 3, 1),
                                             nn.Flatten())  # fmt: skip
    with pytest.raises(ValueError, match=r"called once, .*'layer' was called 2 times"):
        relative_flatness(Risk(twice, split))
    with pytest.raises(ValueError, match=r"must have a torch.nn.Linear layer; got none"):
        relative_flatness(Risk(conv, split))
    with pytest.raises(ValueError, match="`kind` must be one of"):
        fisher_rao_norm(Risk(model, split), kind="both")


class Attentive(nn.Module):
    """Fused attention, whose backward pass has no derivative of its own on a CPU."""

    def __init__(self):
        super().__init__()
        self.ask, self.last = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.ask(x.view(len(x), 1, 3, 4)).chunk(3, dim=-1)
        return self.last(nn.functional.scaled_dot_product_attention(q, k, v).mean((1, 2)))


@pytest.mark.global_rng("torch")
def test_the_fisher_rao_norm_of_a_network_with_attention():
    torch.manual_seed(0)
    x, y = torch.randn(6, 12, dtype=torch.float64), torch.arange(6) % 3
    model = Attentive().double()
    squares = []
    for i in range(6):
        loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        pairs = zip(slopes, model.parameters(), strict=True)
        squares.append(float(sum((slope * p).sum().detach() for slope, p in pairs)) ** 2)
    found = fisher_rao_norm(Risk(model, Split(inputs=x, targets=y, num_classes=3)))
    assert found.value == pytest.approx(float(np.mean(squares)) ** 0.5, rel=1e-9)
