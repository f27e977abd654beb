"""Bounds on the generalization gap from the norms of a network's weights and its margins."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gengap._checks import check_choice, check_probability
from gengap.data import Split

from ._bound import Bound, tail
from ._chain import chain
from ._chain_norms import (
    Chain,
    check_peeled,
    input_squares,
    last_rows,
    log_frobenius,
    log_shared,
    patch_squares,
    path_norm,
    seen_positions,
    spectral_complexity,
)
from ._margins import margins_of, ramp
from ._vc import vc_bound

BoundName = Literal["frobenius", "golowich", "patch", "path", "spectral", "vc"]
"""Bounds of `capacity_bounds`."""
_AS_IF_FIXED = "norms and margin are taken as if chosen before the examples were seen"
_CHUNK = 512


def capacity_bounds(
    model: nn.Module,
    split: Split,
    *,
    names: Sequence[BoundName] | None = None,
    start: nn.Module | None = None,
    confidence: float = 0.95,
) -> list[Bound]:
    r"""Bound the gap of a trained network by what classical theory says of its size and weights.

    All but "vc" are margin bounds. With the ramp loss of width $\gamma$,

    $$\text{error} \le \text{mean ramp} + \frac{4}{\gamma} \hat R + 3 \sqrt{\ln(2 / \delta) / 2n},$$

    where $\hat R$ bounds the summed empirical Rademacher complexity of the outputs of all
    networks of the same norms (Maurer's contraction); gamma is the quantile of the margins that
    makes it least. Biases are counted, as weights of a constant.

    - "frobenius": $\hat R \le 2^{L-1} \prod \|W_l\|_F \sqrt{\sum_i |x_i|^2} / n$.
    - "golowich": $(\sqrt{2 L \ln 2} + 1)$ in the place of $2^{L-1}$.
    - "patch": the same for convolutions as they share weights: with the kernel K, the q positions
      that a unit of the next layer sees, and the largest patch of the inputs,
      $\prod \sqrt{q_l} \|K_l\|_F (\sqrt{2 \sum \ln 2 q_l} + 1) \max_p \sqrt{\sum_i |x_i^p|^2} / n$;
      "golowich" takes the whole convolution operator.
    - "path": $2 \phi_1 \sqrt{(L + 1 + \ln d) \max_j \sum_i x_{ij}^2} / n$ with the sum over paths
      of absolute products.
    - "spectral": Bartlett, Foster and Telgarsky, with the spectral norms of the operators.
    - "vc": Bartlett et al. (2019), from the numbers of weights and units.

    Args:
        model: A trained chain of Linear and Conv2d layers; between them ReLU, pooling, dropout,
            flattening, and BatchNorm straight behind a layer.
        split: The examples it was trained on.
        names: Which bounds; None takes all that hold for the network.
        start: The network before training, as reference of "spectral"; None is zero.
        confidence: With which each holds by itself, in (0, 1).

    Returns:
        The bounds, each with `value`, `vacuous` and `sentence`.

    Raises:
        ValueError: The network is not a chain, or a bound that is named does not hold for it.

    Cost:
        A forward pass, and the singular values of the layers.

    Source:
        Neyshabur, Tomioka and Srebro (2015), arXiv:1503.00036; Golowich, Rakhlin and Shamir
        (2018), arXiv:1712.06541, theorems 1 and 2; Maurer (2016), arXiv:1605.00251; "patch" is
        ours: the step of Golowich et al. taken patch by patch.
    """
    check_probability("confidence", confidence)
    known: tuple[BoundName, ...] = get_args(BoundName)
    for name in names or ():
        check_choice("names", name, known)
    if split.num_classes is None:
        raise ValueError("`split` must have classes for bounds from margins; got real targets.")
    x = split.batch(torch.zeros(1, dtype=torch.int64))[0]
    links = chain(model, x)
    first = None if start is None else chain(start, x)
    facts = _Facts(model, split, links, first, confidence)
    found = []
    for name in names or known:
        try:
            found.append(facts.bound(name))
        except ValueError:
            if names is not None:
                raise
    return found


def norm_complexity(
    model: nn.Module, x: Tensor, *, name: Literal["frobenius", "golowich", "patch", "path"]
) -> float:
    """Bound the empirical Rademacher complexity of the networks with the norms of this one.

    Summed over outputs, as in `capacity_bounds`; for one output it bounds what `rademacher` with
    functions="values" finds among networks of at most these norms.

    Args:
        model: A chain of layers, without max pooling.
        x: Examples, [n, ...].
        name: Which bound.

    Raises:
        ValueError: The network is not such a chain.
    """
    check_choice("name", name, tuple(_COMPLEXITIES))
    links = chain(model, x[:1])
    check_peeled(links)
    return _COMPLEXITIES[name](links, x.double().square().sum(0), len(x))


class _Facts:
    """What all bounds of a network take."""

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        links: Chain,
        start: Chain | None,
        confidence: float,
    ) -> None:
        self.links, self.start, self.confidence = links, start, confidence
        self.n = len(split)
        self.margins = margins_of(model, split)
        parts = [x.cpu().double().square().sum(0) for x, _ in split.batches(_CHUNK)]
        self.squares = torch.stack(parts).sum(0)

    def bound(self, name: BoundName) -> Bound:
        """Return one bound."""
        if name == "vc":
            return vc_bound(self.links, self.n, confidence=self.confidence)
        if name == "spectral":
            return self._spectral()
        check_peeled(self.links)
        complexity = _COMPLEXITIES[name](self.links, self.squares, self.n)
        value, width = least_margin_bound(self.margins, lambda gamma: 4 * complexity / gamma)
        return self._bound(name, value, width, complexity, _SOURCES[name])

    def _spectral(self) -> Bound:
        own = spectral_complexity(self.links, self.start)
        widest = max(max(link.operator.inputs, link.operator.units) for link in self.links)
        size = own * input_squares(self.links, self.squares, self.n) ** 0.5
        factor = 72 * math.sqrt(math.log(2 * widest**2)) * math.log(self.n) * size / self.n
        extra = 8 / self.n**1.5
        value, width = least_margin_bound(self.margins, lambda gamma: factor / gamma + extra)
        return self._bound("spectral", value, width, own, "Bartlett et al. (2017), lemma A.8")

    def _bound(
        self, name: str, value: float, width: float, complexity: float, source: str
    ) -> Bound:
        margin = f"margin {width:.3g}" if math.isfinite(width) else "no example has a margin"
        return Bound(
            name=name,
            value=value + tail(self.n, self.confidence),
            complexity=complexity,
            units="outputs" if name != "spectral" else "outputs per input",
            confidence=self.confidence,
            source=source,
            note=f"{margin}; {_AS_IF_FIXED}",
        )


def least_margin_bound(margins: Tensor, price: Callable[[float], float]) -> tuple[float, float]:
    """Return the least of mean ramp less error plus price, and the margin at which it is.

    Args:
        margins: Of all examples, [n].
        price: What a margin costs.
    """
    positive = margins[margins > 0]
    if not len(positive):
        return math.inf, math.nan
    error = float((margins <= 0).double().mean())
    widths = positive.quantile(torch.linspace(0.02, 1, 50, dtype=torch.float64)).tolist()
    return min((ramp(margins, width) - error + price(width), width) for width in widths)


def _frobenius(links: Chain, squares: Tensor, n: int) -> float:
    return _exp(
        (len(links) - 1) * math.log(2)
        + log_frobenius(links)
        + _log(last_rows(links) * input_squares(links, squares, n) ** 0.5 / n)
    )


def _golowich(links: Chain, squares: Tensor, n: int) -> float:
    depth = math.sqrt(2 * math.log(2) * len(links)) + 1
    size = last_rows(links) * input_squares(links, squares, n) ** 0.5 / n
    return _exp(math.log(depth) + log_frobenius(links) + _log(size))


def _patch(links: Chain, squares: Tensor, n: int) -> float:
    counted = math.log(2) + sum(math.log(2 * q) for q in seen_positions(links))
    depth = math.sqrt(2 * counted) + 1
    size = last_rows(links) * patch_squares(links, squares, n) ** 0.5 / n
    return _exp(math.log(depth) + log_shared(links) + _log(size))


def _path(links: Chain, squares: Tensor, n: int) -> float:
    inputs = links[0].operator.inputs + 1
    largest = max(float(squares.max()), float(n))
    depth = (len(links) + 1 + math.log(inputs)) * largest
    return 2 * path_norm(links) * math.sqrt(depth) / n


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


_COMPLEXITIES: dict[str, Callable[[Chain, Tensor, int], float]] = {
    "frobenius": _frobenius,
    "golowich": _golowich,
    "patch": _patch,
    "path": _path,
}
_SOURCES = {
    "frobenius": "Neyshabur et al. (2015)",
    "golowich": "Golowich et al. (2018), theorem 1",
    "patch": "the step of Golowich et al. (2018) taken patch by patch",
    "path": "Golowich et al. (2018), theorem 2",
}
