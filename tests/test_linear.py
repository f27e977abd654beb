"""Twin: products against float64. Property: derivatives, dtypes, small products are PyTorch's."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import vmap
from torch.nn import functional as F

from gengap import _linear
from gengap._linear import linear, stacked_linear


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, W, B = drawn(300, 130), drawn(170, 130, seed=1), drawn(170, seed=2)


@pytest.fixture
def by_onednn(monkeypatch):
    """Products of any size are oneDNN's; the list has one entry for each that was."""
    for limit in ("_SMALL", "_THIN", "_WIDE"):
        monkeypatch.setattr(_linear, limit, 0)
    if not _linear._has_onednn():
        pytest.skip("this PyTorch has no products of oneDNN")
    plain, seen = F.linear, []
    monkeypatch.setattr(F, "linear", lambda *args: seen.append(1) or plain(*args))
    return lambda: not seen


@pytest.mark.parametrize("bias", [None, B])
@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (X, W),
        (X.T.contiguous().T, W),
        (X, W.T.contiguous().T),
        (X[::2], W.flip(0)),
        (X[:, 3:60], W[:, 3:60]),
        (X[:, ::2], W[:, ::2]),
        (X.T.contiguous().T[:, ::2], W.T.contiguous().T[:, ::2]),
        (X[:1].expand(300, 130), W[:, :1].expand(170, 130)),
        (X.view(3, 100, 130), W),
        (X[:1], W),
    ],
)
def test_products_are_those_of_float64(by_onednn, x, weight, bias):
    exact = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    torch.testing.assert_close(linear(x, weight, bias).double(), exact, rtol=1e-5, atol=1e-4)
    assert by_onednn()


def test_nothing_times_nothing(monkeypatch):
    monkeypatch.setattr(_linear, "_SMALL", 0)
    assert linear(X[:0], W).shape == (0, 170)
    assert torch.equal(linear(X[:, :0], W[:, :0], B), B.expand(300, 170))


def test_small_products_and_other_dtypes_are_pytorchs():
    assert torch.equal(linear(X, W, B), F.linear(X, W, B))
    big, weight = X.double().repeat(40, 1), W.double()
    assert torch.equal(linear(big, weight), F.linear(big, weight))


def test_large_products_are_not_pytorchs(monkeypatch):
    assert X.repeat(40, 1).numel() * len(W) > _linear._SMALL
    if not _linear._has_onednn():
        pytest.skip("this PyTorch has no products of oneDNN")
    monkeypatch.setattr(F, "linear", None)
    big = X.repeat(40, 1)
    torch.testing.assert_close(linear(big, W), big @ W.T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "weight", "large"),
    [
        ((300, 200), (100, 200), True),
        ((3, 100, 200), (100, 200), True),
        ((30, 200), (1000, 200), False),
        ((9000, 200), (31, 200), False),
        ((300, 20), (1000, 20), False),
        ((100, 200), (200, 200), False),
    ],
)
def test_thin_and_small_products_are_not_worth_it(x, weight, large):
    assert _linear._is_large(torch.empty(x), torch.empty(weight)) == large


def test_a_transposed_x_is_worth_a_copy_for_a_wide_weight():
    x = torch.empty(200, 900).T
    assert _linear._is_large(x, torch.empty(256, 200))
    assert not _linear._is_large(x, torch.empty(255, 200))


@pytest.mark.parametrize(
    "weight",
    [W, W.T.contiguous().T, W[:, 3:60], W[:, ::2], W.T.contiguous()[:60].T, W[:1].expand(90, 130)],
)
def test_onednn_is_given_weights_without_gaps(weight, monkeypatch):
    """Of others its product is right, but takes a thousand times as long."""
    if not _linear._has_onednn():
        pytest.skip("this PyTorch has no products of oneDNN")
    given, real = [], torch.ops.mkldnn._linear_pointwise

    class Watched:
        @staticmethod
        def _linear_pointwise(x, weight, *rest):
            given.append(weight)
            return real(x, weight, *rest)

    monkeypatch.setattr(torch.ops, "mkldnn", Watched)
    x = X[:, : weight.shape[1]]
    found = _linear._by_onednn(x, weight, None)
    torch.testing.assert_close(found, x @ weight.T, rtol=1e-5, atol=1e-4)
    assert len(given) == 1 and (given[0].is_contiguous() or given[0].T.is_contiguous())


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # PyTorch's own
def test_derivatives_are_kept(by_onednn):
    weight = W.clone().requires_grad_()
    linear(X, weight).sum().backward()
    torch.testing.assert_close(weight.grad, X.sum(0).expand_as(W), rtol=1e-4, atol=1e-4)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(linear(forward_ad.make_dual(X, X), W))
    torch.testing.assert_close(found.tangent, X @ W.T, rtol=1e-5, atol=1e-4)
    assert not by_onednn()


def test_a_parameter_without_a_graph_is_a_matrix(by_onednn):
    weight = W.clone().requires_grad_()
    with torch.no_grad():
        torch.testing.assert_close(linear(X, weight), X @ W.T, rtol=1e-5, atol=1e-4)
    assert by_onednn()


def test_vectorized_autocast_and_switched_off(by_onednn, monkeypatch):
    stacked = torch.stack([X, -X])
    found = vmap(lambda x: linear(x, W))(stacked)
    assert not by_onednn()  # it would go product by product, and PyTorch warn of it
    torch.testing.assert_close(found, stacked @ W.T, rtol=1e-5, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(X, W).dtype == torch.bfloat16
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert torch.equal(linear(X, W), X @ W.T)
    assert not by_onednn()


def test_a_pytorch_without_it_is_served(monkeypatch):
    monkeypatch.setattr(_linear, "_SMALL", 0)
    monkeypatch.setattr(_linear, "_has_onednn", lambda: False)
    assert torch.equal(linear(X, W, B), F.linear(X, W, B))


@pytest.mark.parametrize("small", [0, 2**40])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lanes", [1, 3])
def test_stacks_are_products_one_by_one(monkeypatch, small, bias, lanes):
    for limit in ("_SMALL", "_THIN", "_WIDE"):
        monkeypatch.setattr(_linear, limit, small)
    x, weight = drawn(lanes, 20, 30), drawn(lanes, 30, 10, seed=1).mT
    shift, out = (
        (drawn(lanes, 10, seed=2) if bias else None),
        torch.full((lanes, 20, 10), torch.nan),
    )
    exact = x.double() @ weight.mT.double() + (shift.double()[:, None] if bias else 0)
    assert stacked_linear(x, weight, shift, out=out) is out
    torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-5)
