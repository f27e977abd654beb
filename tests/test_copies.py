"""Property: copies of networks that keep what they computed. Oracle: the network's own outputs."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

import gengap
from gengap import symmetries
from gengap._copies import copy_of
from gengap.curvature import keskar_sharpness, line
from gengap.data import gaussian_clusters
from gengap.models import FrozenActivations


class Keeping(nn.Module):
    """Keeps its activations, as for Grad-CAM: itself, in containers, and in another object."""

    class Notes:
        pass

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.relu, self.last = nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
        self.register_buffer("ones", torch.ones(5))
        self.notes = self.Notes()

    def forward(self, x):
        self.act = self.relu(self.first(x))
        self.listed, self.named, self.notes.seen = [(self.act,)], {"act": self.act}, 2 * self.act
        return self.last(self.act)


@pytest.fixture
def split():
    return gaussian_clusters(20, dim=6, num_classes=3, separation=2.0, seed=0)


@pytest.fixture
def model(split):
    found = Keeping()
    found(split.batch()[0])
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(found)
    return found


def test_what_was_computed_comes_out_detached_and_the_model_is_left_alone(model, split):
    twin, x = copy_of(model), split.batch()[0]
    assert twin.act is twin.listed[0][0] is twin.named["act"] is not model.act
    for own, other in ((model.act, twin.act), (model.notes.seen, twin.notes.seen)):
        assert torch.equal(own, other) and own.requires_grad and not other.requires_grad
    assert torch.equal(twin(x), model(x))
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert isinstance(other, nn.Parameter) and other.requires_grad
        assert torch.equal(one, other) and one.data_ptr() != other.data_ptr()
    assert twin.ones.data_ptr() != model.ones.data_ptr()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize("transform", ["vmap", "grad", "jvp"])
def test_what_a_transformation_left_behind_is_no_obstacle(transform, split):
    found, x = Keeping(), split.batch()[0]
    point = {name: p.detach() for name, p in found.named_parameters()}

    def loss(params, row):
        return functional_call(found, params, (row[None],)).square().sum()

    run = {
        "vmap": lambda: vmap(grad(loss), (None, 0))(point, x),
        "grad": lambda: grad(loss)(point, x[0]),
        "jvp": lambda: jvp(lambda params: loss(params, x[0]), (point,), (point,)),
    }[transform]
    run()
    torch.testing.assert_close(copy_of(found)(x), found(x))


@pytest.mark.parametrize("old", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_hooks_that_make_a_weight_make_the_copys(old, split):
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        warnings.simplefilter("ignore", FutureWarning)
        found = nn.Sequential(old(nn.Linear(6, 3), "weight"))
    x = split.batch()[0]
    found.eval()(x)
    twin = copy_of(found)
    twin(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in twin.parameters())
    assert all(p.grad is None for p in found.parameters())
    risk = gengap.Risk(found, split, dtype=torch.float64)
    assert set(risk.params) == {f"0.{k}" for k, _ in found[0].named_parameters()}
    assert all(g.any() for g in risk.gradient().values())


def test_everything_that_copies_a_model_takes_it(model, split):
    x = split.batch()[0]
    outputs = model(x).detach()
    risk = gengap.Risk(model, split)
    assert risk() == pytest.approx(float(nn.functional.cross_entropy(outputs, split.targets)))
    risk.model(x)  # and now the risk's own copy keeps one
    assert keskar_sharpness(risk, starts=1, iterations=1).value >= 0
    end = {name: 2 * value for name, value in risk.params.items()}
    assert len(line(risk, None, end, alphas=[0.0, 1.0]).alphas) == 2
    for change in (symmetries.rescale, symmetries.permute):
        model(x)
        torch.testing.assert_close(change(model, seed=0)(x), model(x))
    model(x)
    symmetries.reparametrize(model, symmetries.WeightNorm())
    model(x)
    FrozenActivations(model)
    assert model.act.requires_grad
