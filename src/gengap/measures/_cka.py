"""How alike two networks represent examples: linear centered kernel alignment."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from gengap._checks import check_count, check_positive
from gengap._streams import derive_seed, streams
from gengap.data import Split

_BLOCKS = 20
_LEAST = 4
_ROUNDING = 3e-7


@final
@dataclass(frozen=True, kw_only=True)
class Similarity:
    """A similarity of representations.

    Attributes:
        value: 1 for the same up to rotation, scale and shift, near 0 for unrelated ones; in
            [0, 1], and in [-1, 1] where debiased. NaN where a representation is constant.
        standard_error: By the jackknife over blocks of examples; NaN with fewer than 80.
        examples: On how many examples.
    """

    value: float
    standard_error: float
    examples: int

    def __float__(self) -> float:
        return self.value


def linear_cka(first: Tensor, second: Tensor, *, debiased: bool = True) -> Similarity:
    r"""Return the linear centered kernel alignment of two representations of the same examples.

    $\frac{\text{HSIC}(K, L)}{\sqrt{\text{HSIC}(K, K) \, \text{HSIC}(L, L)}}$, $K = X X^T$,
    $L = Y Y^T$

    Debiased: each HSIC is the unbiased estimator of Song et al.; their ratio is not unbiased but
    does not grow with the number of features, as the plain one does where examples are few: two
    independent representations with many more features than examples have a plain value near 1.
    Invariant to rotation and reflection, to a scale of either side and to a shift; not to
    other linear maps, such as a scale of each feature.

    Args:
        first: Features [n, ...], flattened; at least 4 examples.
        second: Features of the same examples in the same order.
        debiased: Whether to take the unbiased estimators.

    Cost:
        n times the product of both numbers of features, or n squared times their sum, whichever is
        less; 21 times with the standard error. Float64.

    Raises:
        ValueError: The examples are not the same number, too few, or a feature is not finite.

    Source:
        Kornblith, Norouzi, Lee, Hinton (2019), arXiv:1905.00414; Song, Smola, Gretton, Bedo,
        Borgwardt (2012), Feature selection via dependence maximization, for the estimator.
    """
    x, y = _features("first", first), _features("second", second)
    if len(x) != len(y):
        raise ValueError(
            f"`second` must have the {len(x)} examples of `first`; got {len(y)} examples."
        )
    n = len(x)
    if n < _LEAST:
        raise ValueError(f"`first` must have at least {_LEAST} examples; got {n}.")
    value, error = _alignment(x, y, debiased), math.nan
    if n >= _LEAST * _BLOCKS:
        block = torch.arange(n) % _BLOCKS
        left_out = [_alignment(x[block != b], y[block != b], debiased) for b in range(_BLOCKS)]
        spread = torch.tensor(left_out, dtype=torch.float64).var(correction=0)
        error = float(((_BLOCKS - 1) * spread).sqrt())
    return Similarity(value=value, standard_error=error, examples=n)


def cka(
    first: nn.Module,
    second: nn.Module,
    split: Split,
    *,
    layer: str | None = None,
    mixup: float | None = 1.0,
    examples: int | None = 1000,
    debiased: bool = True,
    seed: int = 0,
    chunk: int = 512,
) -> Similarity:
    r"""Return the linear CKA of two networks on examples, or on mixtures of them.

    Of the softmax of their outputs, or of what a layer of both puts out. On mixtures
    $\lambda x_i + (1 - \lambda) x_j$ networks that agree on every example may differ; each has
    its own j and its own $\lambda \sim \text{Beta}(a, a)$. The
    networks run in evaluation mode; their own mode is put back.

    Args:
        first: A network.
        second: Another, of any architecture.
        split: The examples.
        layer: Name of a module of both networks, as in `named_modules`; None is the softmax of
            the outputs.
        mixup: The parameter a of the mixtures; 1 is uniform; None takes the examples themselves.
        examples: So many examples, drawn once; None takes all.
        debiased: As of `linear_cka`.
        seed: Of examples and mixtures.
        chunk: Examples in one pass.

    Cost: one forward pass of each network, and `linear_cka`.

    Raises:
        ValueError: A network has no such layer, or its outputs are not one row of scores each.

    Source:
        Yang et al. (2021), arXiv:2107.11228: on softmax outputs at mixtures, plain CKA with one
        lambda a batch.
    """
    x = _points(split, examples=examples, mixup=mixup, seed=seed)
    found = [_representation(model, x, layer, chunk) for model in (first, second)]
    return linear_cka(*found, debiased=debiased)


def _points(split: Split, *, examples: int | None, mixup: float | None, seed: int) -> Tensor:
    """Return network inputs: examples, or mixtures of them."""
    n = len(split)
    order = torch.randperm(n, generator=streams(seed)("examples"))
    if examples is not None:
        check_count("examples", examples)
        order = order[:examples]
    x = split.batch(order)[0]
    if mixup is None:
        return x
    check_positive("mixup", mixup)
    draws = np.random.Generator(np.random.Philox(derive_seed(seed, "mixup")))
    share = torch.from_numpy(draws.beta(mixup, mixup, len(x))).to(x)
    share = share.reshape(-1, *[1] * (x.ndim - 1))
    partner = torch.randperm(len(x), generator=streams(seed)("partners")).to(x.device)
    return share * x + (1 - share) * x[partner]


def _representation(model: nn.Module, x: Tensor, layer: str | None, chunk: int) -> Tensor:
    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        raise ValueError(f"`layer` must be the name of a module of both networks; got {layer!r}.")
    kept: list[Tensor] = []
    target = model if layer is None else modules[layer]
    handle = target.register_forward_hook(lambda module, inputs, output: kept.append(output))
    modes = {module: module.training for module in modules.values()}
    weight = next(model.parameters(), x)
    try:
        model.eval()
        with torch.no_grad():
            for part in x.split(chunk):
                model(part.to(weight.device, weight.dtype))
    finally:
        handle.remove()
        for module, mode in modes.items():
            module.training = mode
    found = torch.cat(kept).double().cpu()
    if layer is not None:
        return found
    if found.ndim != 2:
        raise ValueError(
            "`first` and `second` must give one row of scores an example, [n, c]; got shape "
            f"{tuple(found.shape)}."
        )
    return found.softmax(1)


def _features(name: str, given: Tensor) -> Tensor:
    """Return features [n, d], float64."""
    if given.ndim < 2:
        raise ValueError(
            f"`{name}` must be features of examples, [n, ...]; got shape {tuple(given.shape)}."
        )
    found = given.detach().double().flatten(1)
    if not bool(found.isfinite().all()):
        raise ValueError(f"`{name}` must be finite; got NaN or infinity.")
    return found


def _alignment(x: Tensor, y: Tensor, debiased: bool) -> float:
    if _is_constant(x) or _is_constant(y):
        return math.nan
    x, y = x - x.mean(0), y - y.mean(0)
    both, own, other = (_hsic(a, b, debiased) for a, b in ((x, y), (x, x), (y, y)))
    scale = math.sqrt(max(own, 0.0)) * math.sqrt(max(other, 0.0))
    return both / scale if scale > 0 else math.nan


def _is_constant(x: Tensor) -> bool:
    """Return whether what varies is no more than the rounding of float32."""
    return bool((x - x.mean(0)).square().sum() <= _ROUNDING**2 * x.square().sum())


def _hsic(x: Tensor, y: Tensor, debiased: bool) -> float:
    """Return HSIC of centered features times n (n - 3) if debiased, else (n - 1) squared."""
    n = len(x)
    if n < min(x.shape[1], y.shape[1]):
        product = float(((x @ x.T) * (y @ y.T)).sum())
    else:
        product = float((x.T @ y).square().sum())
    if not debiased:
        return product
    own, other = x.square().sum(1), y.square().sum(1)
    shared = float(own @ other) * n / (n - 2)
    return product - shared + float(own.sum() * other.sum()) / ((n - 1) * (n - 2))
