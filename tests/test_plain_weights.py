"""Property: copies with plain weights compute the same; oracle: the network itself."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from gengap._plain_weights import with_plain_weights
from gengap.capacity import capacity_bounds
from gengap.data import as_split
from gengap.measures import evaluate

pytestmark = pytest.mark.global_rng("torch")
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
SPLIT = as_split(X, torch.arange(40) % 3)


def pruned(layer):
    prune.random_unstructured(layer, "weight", 0.3)
    return prune.l1_unstructured(layer, "bias", 1)


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return weight_norm(layer, dim=1)


KINDS = {
    "none": lambda layer: layer,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old weight_norm": old_weight_norm,
    "old spectral_norm": spectral_norm,
    "pruned": pruned,
}


@pytest.fixture(params=KINDS)
def network(request):
    make = KINDS[request.param]
    return nn.Sequential(make(nn.Linear(3, 5)), nn.ReLU(), make(nn.Linear(5, 3))).eval()


def layers(network):
    network(X)  # hooks compute the weights
    return [(network[i].weight.detach(), network[i].bias.detach()) for i in (0, 2)]


def test_it_computes_the_same_from_weights_and_biases_alone(network):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    plain = with_plain_weights(network.train())
    assert torch.equal(plain(X), network.eval()(X))
    names = [f"{i}.{name}" for i in (0, 2) for name in ("weight", "bias")]
    assert sorted(dict(plain.named_parameters())) == sorted(names)
    assert not plain.training
    assert {name: value.tolist() for name, value in network.state_dict().items()} == {
        name: value.tolist() for name, value in state.items()
    }


def test_norms_and_bounds_are_those_of_the_weights(network):
    """Oracle: the same function in plain layers, and closed forms."""
    twin = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        for i, (weight, bias) in zip((0, 2), layers(network), strict=True):
            twin[i].weight.copy_(weight)
            twin[i].bias.copy_(bias)
    names = ["log_frobenius_product", "log_spectral_product", "path_norm", "golowich_bound"]
    found, truth = (evaluate(m, SPLIT, names=names)["value"].tolist() for m in (network, twin))
    assert found == pytest.approx(truth, rel=1e-5)
    (w, b), (v, c) = [(w.double().square(), b.double().square()) for w, b in layers(network)]
    assert found[0] == pytest.approx(float(w.sum().log() + v.sum().log()), rel=1e-5)
    assert found[2] == pytest.approx(float((v @ (w.sum(1) + b) + c).sum().sqrt()))
    own, other = (capacity_bounds(m, SPLIT) for m in (network, twin))
    assert [b.value for b in own] == pytest.approx([b.value for b in other])
