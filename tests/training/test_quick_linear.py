"""Twin: outputs and derivatives against float64 autograd. Property: what is left to PyTorch."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from gengap import _linear
from gengap._streams import streams
from gengap.training import Recipe
from gengap.training._autograd_program import AutogradProgram
from gengap.training._quick_linear import QuickLinear, _Product, quicken
from tests.training.cases import normed

pytestmark = pytest.mark.global_rng("torch")


@pytest.fixture
def always(monkeypatch):
    """Products of any size are oneDNN's; the list has one entry for each layer's call."""
    if not _linear._has_onednn():
        pytest.skip("this PyTorch has no products of oneDNN")
    for limit in ("_SMALL", "_THIN", "_WIDE"):
        monkeypatch.setattr(_linear, limit, 0)
    real, calls = _Product.apply, []
    monkeypatch.setattr(_Product, "apply", lambda *args: calls.append(1) or real(*args))
    return calls


def quick(inputs, outputs, *, bias=True):
    torch.manual_seed(1)
    layer = nn.Sequential(nn.Linear(inputs, outputs, bias=bias))
    quicken(layer)
    assert isinstance(layer[0], QuickLinear)
    return layer


def derivatives(layer, x):
    y = layer(x)
    wanted = [t for t in (x, *layer.parameters()) if t.requires_grad]
    return y, torch.autograd.grad(y.sin().sum(), wanted)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(40, 13), (3, 40, 13), (13,), (40, 26)])
@pytest.mark.parametrize("frozen", ["nothing", "input", "weight"])
def test_derivatives_are_those_of_float64(always, bias, shape, frozen):
    layer = quick(13, 9, bias=bias)
    x = torch.randn(*shape)[..., -13:].requires_grad_(frozen != "input")
    layer[0].weight.requires_grad_(frozen != "weight")
    twin, exact = copy.deepcopy(layer).double(), x.detach().double()
    twin[0].__class__ = nn.Linear
    y, found = derivatives(layer, x)
    z, expected = derivatives(twin, exact.requires_grad_(x.requires_grad))
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(y.double(), z, **close)
    for g, e in zip(found, expected, strict=True):
        torch.testing.assert_close(g.double(), e, **close)
    assert len(always) == 1


def test_large_layers_take_these_products():
    if not _linear._has_onednn():
        pytest.skip("this PyTorch has no products of oneDNN")
    layer = quick(256, 256)
    node = layer(torch.randn(256, 256)).grad_fn
    assert type(node).__name__ == "_ProductBackward"
    assert type(layer(torch.randn(8, 256)).grad_fn).__name__ == "AddmmBackward0"


def test_other_types_are_pytorchs(always):
    layer = quick(6, 4)
    layer.double()(torch.randn(5, 6, dtype=torch.float64)).sum().backward()
    layer.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(torch.randn(5, 6)).sum().backward()
    assert not always


def test_only_plain_layers_are_quickened():
    class Own(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    normal = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    model = nn.Sequential(Own(3, 3), normal, nn.Linear(3, 3))
    before = type(normal)
    quicken(model)
    assert [type(m) for m in model] == [Own, before, QuickLinear]


def test_a_program_trains_the_same_and_leaves_the_users_network_alone(always, monkeypatch):
    torch.manual_seed(0)
    models = [normed()]
    x, y = torch.randn(1, 30, 6), torch.randint(3, (1, 30))
    found = []
    for limit in (0, 10**9):
        monkeypatch.setattr(_linear, "_SMALL", limit)
        program = AutogradProgram(copy.deepcopy(models), Recipe())
        program.start_epoch([streams(0)("dropout", 0)])
        found.append((*program.gradients(x, y)[1], program.outputs(x)))
    assert always
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, QuickLinear) for m in models[0].modules())


def test_robust_means_and_stacks_keep_pytorchs():
    robust = AutogradProgram([normed()], Recipe(optimizer="winsorized_sgd"))
    stacked = AutogradProgram([normed(), normed()], Recipe())
    for program in (robust, stacked):
        assert not any(isinstance(m, QuickLinear) for m in program._skeleton.modules())
    stacked.keep(torch.tensor([1]))
    assert any(isinstance(m, QuickLinear) for m in stacked._skeleton.modules())


def test_a_second_derivative_is_refused(always):
    layer = quick(6, 4)
    x = torch.randn(5, 6, requires_grad=True)
    (g,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()
    assert functional_call(layer, dict(layer.named_parameters()), (x,)).shape == (5, 4)
