"""Twin: products with the Hessian, Gauss-Newton and Fisher matrices of ten networks.

Oracle: dense float64 matrices by torch.func, Gauss-Newton and Fisher example by example.
"""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from gengap import Risk
from gengap.curvature import fisher, gauss_newton, hessian
from gengap.data import Split
from tests.curvature.curvature_cases import BUILD, quadratic, risk_of
from tests.reference.dense_curvature import (
    dense_empirical_fisher,
    dense_gauss_newton,
    dense_hessian,
)

KINDS = {
    "hessian": (hessian, dense_hessian),
    "gauss-newton": (gauss_newton, dense_gauss_newton),
    "true fisher": (fisher, dense_gauss_newton),
    "empirical fisher": (lambda risk, **k: fisher(risk, kind="empirical", **k),
                         dense_empirical_fisher),
}  # fmt: skip


def close(found, truth):
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-10 * float(truth.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BUILD)
def test_matrices_agree_with_dense_ones(name, kind):
    operator, twin = KINDS[kind]
    risk = risk_of(name, n=17, chunk=5)
    close(operator(risk).dense(), twin(risk))


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_blocks_of_the_whole(kind):
    operator, _ = KINDS[kind]
    risk = risk_of("conv", n=11)
    names = ("0.bias", "4.weight")
    block, whole = operator(risk, names=names), operator(risk)
    places = {name: torch.arange(p.numel()) for name, p in risk.params.items()}
    start = 0
    for name, p in risk.params.items():
        places[name] += start
        start += p.numel()
    chosen = torch.cat([places[name] for name in names])
    close(block.dense(), whole.dense()[chosen][:, chosen])
    assert block.names == names


@pytest.mark.parametrize("kind", KINDS)
def test_the_true_fisher_of_labels_drawn_is_the_mean_over_all_labels(kind):
    risk = risk_of("mlp", n=6)
    outputs = torch.cat([risk.model(x) for x, _ in risk.batches()]).softmax(1).detach()
    total = 0.0
    for label in range(3):
        for i in range(6):
            x = risk.split.inputs[i : i + 1]
            split = Split(inputs=x, targets=torch.tensor([label]), num_classes=3)
            total = total + outputs[i, label] * dense_empirical_fisher(risk.on(split)) / 6
    close(fisher(risk).dense(), total)


class Scaled(nn.Module):
    """A linear layer times a parameter without axes."""

    def __init__(self):
        super().__init__()
        self.line, self.scale = nn.Linear(16, 3), nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return self.scale * torch.tanh(self.line(x.flatten(1)))


@pytest.mark.global_rng
@pytest.mark.parametrize("k", [1, 2, 70])
@pytest.mark.parametrize("name", ["deep tanh", "conv", "without axes"])
def test_quadratic_forms_are_those_of_the_dense_matrix(name, k):
    """Of two and more vectors several go through the graph at once, but never all of 70."""
    plain = risk_of("mlp" if name == "without axes" else name, n=17, chunk=5)
    risk = Risk(Scaled(), plain.split, chunk=5, dtype=torch.float64)
    operator = hessian(risk if name == "without axes" else plain)
    dense = operator.dense()
    v = torch.randn(k, len(dense), dtype=torch.float64)
    close(operator.forms(v), ((v @ dense) * v).sum(1))


@pytest.mark.global_rng
def test_blocks_of_vectors_numpy_and_scipy_give_the_same():
    operator = hessian(risk_of("deep tanh"))
    dense = operator.dense()
    v = torch.randn(operator.shape[0], 3, dtype=torch.float64)
    close(operator @ v, dense @ v)
    close(operator @ v[:, 1], dense @ v[:, 1])
    assert (operator @ v.float()).dtype == torch.float32
    np.testing.assert_allclose(operator @ v.numpy(), (dense @ v).numpy(), atol=1e-12)
    values = eigsh(operator.scipy(), k=2, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(values, torch.linalg.eigvalsh(dense)[-2:].numpy(), rtol=1e-8)


@pytest.mark.global_rng
def test_vectors_one_at_a_time_and_together_agree(monkeypatch):
    operator = gauss_newton(risk_of("group norm"))
    v = torch.randn(operator.shape[0], 4, dtype=torch.float64)
    together = operator @ v
    monkeypatch.setattr("gengap.curvature._products._SMALL", 0)
    close(operator @ v, together)


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_budget_changes_no_number(kind):
    operator, _ = KINDS[kind]
    risk = risk_of("mlp")
    v = torch.randn(operator(risk).shape[0], dtype=torch.float64, generator=torch.Generator())
    kept, half, none = operator(risk), operator(risk), operator(risk, memory=0)
    first = kept @ v
    assert kept._multiply.kept == 4
    half = operator(risk, memory=2 * kept._multiply.chunk_bytes)
    assert torch.equal(half @ v, first)
    assert half._multiply.kept == 2
    for operator in (kept, half, none):
        assert torch.equal(operator @ v, first)
        assert torch.equal(operator @ v, first)
    assert none._multiply.kept == 0


def test_chunks_count_by_their_size():
    first = dense_hessian(risk_of("residual"))
    for chunk in (5, 36, 37, 100):
        close(hessian(risk_of("residual", chunk=chunk)).dense(), first)


def test_flatten_and_unflatten_are_inverse():
    risk = risk_of("mlp")
    operator = hessian(risk)
    vector = operator.flatten(risk.params)
    for name, value in operator.unflatten(vector).items():
        assert torch.equal(value, risk.params[name])


def test_the_risk_is_left_as_it_was():
    risk = risk_of("mlp")
    before = {name: p.clone() for name, p in risk.params.items()}
    hessian(risk).dense()
    assert all(torch.equal(p, risk.params[name]) for name, p in before.items())
    assert all(p.grad is None for p in risk.model.parameters())


class Fixed(nn.Module):
    """Outputs that do not depend on its parameter."""

    def __init__(self, draws=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.draws = draws

    def forward(self, x):
        if self.draws:
            return self.weight + torch.randn(len(x), 3) * self.scale
        return x.flatten(1)[:, :3] + self.weight.detach()

    scale = 1e-3


class Once(torch.autograd.Function):
    """A square that can be differentiated once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Square(nn.Linear):
    """A linear layer, squared once differentiably."""

    def forward(self, x):
        return Once.apply(super().forward(x.flatten(1)))


def split_of(n=4):
    x = torch.randn(n, 1, 4, 4, generator=torch.Generator())
    return Split(inputs=x, targets=torch.zeros(n, dtype=torch.long), num_classes=3)


def test_a_model_that_does_not_depend_on_its_parameters_is_refused():
    with pytest.raises(ValueError, match="must depend on the parameters"):
        hessian(Risk(Fixed(), split_of())).dense()


@pytest.mark.global_rng
def test_a_model_that_draws_is_refused():
    with pytest.raises(ValueError, match="same loss at every call"):
        hessian(Risk(Fixed(draws=True), split_of()))


@pytest.mark.global_rng
@pytest.mark.parametrize("operator", [hessian, gauss_newton])
def test_an_operation_without_second_derivative_is_refused(operator):
    with pytest.raises(ValueError, match="must be twice differentiable"):
        operator(Risk(Square(16, 3), split_of())).dense()


def test_layers_in_training_mode_are_refused():
    risk = risk_of("batch norm")
    risk.model.train()
    with pytest.raises(ValueError, match="evaluation mode"):
        hessian(risk)


def test_an_empty_split_is_refused():
    risk = risk_of("mlp")
    with pytest.raises(ValueError, match="at least one example"):
        hessian(risk[:0])


def test_nan_is_refused():
    risk = risk_of("mlp")
    next(risk.model.parameters()).data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        hessian(risk)
    late = risk_of("mlp")
    late.split.inputs[-1] = float("inf")
    with pytest.raises(ValueError, match="finite"):
        hessian(late).dense()


def test_wrong_arguments_are_refused():
    risk = risk_of("mlp")
    with pytest.raises(ValueError, match="`names`"):
        hessian(risk, names=["nothing"])
    with pytest.raises(ValueError, match="`names`"):
        hessian(risk, names=[])
    with pytest.raises(ValueError, match="`vectors`"):
        hessian(risk) @ torch.ones(3)
    with pytest.raises(ValueError, match="`memory`"):
        hessian(risk, memory=-1)
    with pytest.raises(TypeError, match=r"gengap\.Risk"):
        hessian(risk.model)
    own = Risk(risk.model, risk.split, loss=lambda outputs, y: outputs.square().sum(1))
    with pytest.raises(ValueError, match="true Fisher"):
        fisher(own)


def test_a_linear_loss_has_no_curvature():
    risk = quadratic([1.0, 2.0])
    linear = Risk(risk.model, risk.split, loss=lambda outputs, y: outputs.sum(1))
    assert not hessian(linear).dense().any()
    assert not gauss_newton(linear).dense().any()
