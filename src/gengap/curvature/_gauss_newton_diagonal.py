"""The diagonal of the Gauss-Newton matrix, exactly, from squares of gradients."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from gengap._checks import check_choice
from gengap.data import Split
from gengap.gradients import sums_of_squares
from gengap.risk import Risk

_RELATIVE, _ABSOLUTE = 1e-9, 1e-12
_ENTRIES_AT_ONCE = 1 << 22

Negative = Literal["count", "drop", "refuse"]


class NotConvexError(ValueError):
    """A loss is not convex in the outputs."""


def gauss_newton_diagonal(risk: Risk, *, negative: Negative = "count") -> dict[str, Tensor]:
    r"""Return the diagonal of $\frac1n \sum_i J_i^\top L_i J_i$, exactly.

    With the eigenvectors $u_{ic}$ and eigenvalues $\lambda_{ic}$ of the loss's Hessian $L_i$ in the
    outputs it is $\frac1n \sum_c \sum_i \lambda_{ic} (J_i^\top u_{ic})^2$: for every c, squares of
    the gradients of $\sqrt{\lambda_{ic}}\, u_{ic}^\top f(x_i)$.

    Where the outputs are linear in every single parameter, as in networks with ReLU and
    max-pooling and no parameter used twice, it is the diagonal of the Hessian too. For
    cross-entropy and half the squared error it is that of the true Fisher matrix.

    Cost: a forward and backward pass for each of c outputs, of which a cross-entropy saves one.

    Args:
        risk: Model, loss and examples.
        negative: What to do with a negative curvature of the loss in the outputs, which a loss
            that is convex in them does not have: count it, take it for 0, or refuse the loss.

    Returns:
        Name to float64 tensor of the parameter's shape, in units of the loss over parameters
        squared.

    Raises:
        NotConvexError: The loss is not convex in the outputs, and that is to be refused.
    """
    check_choice("negative", negative, ("count", "drop", "refuse"))
    total = {k: torch.zeros_like(p, dtype=torch.float64) for k, p in risk.params.items()}
    few = max(1, _ENTRIES_AT_ONCE // width_of_outputs(risk) ** 2)
    for start in range(0, risk.n, few):
        part = risk[start : start + few]
        for sign, directions in _directions(part, negative):
            for column in directions.unbind(2):
                if column.any():
                    for name, value in sums_of_squares(_of_outputs(part, column)).items():
                        total[name] += sign * value
    return {name: value / risk.n for name, value in total.items()}


def width_of_outputs(risk: Risk) -> int:
    """Return how many numbers the model gives for an example."""
    first = risk.cast(risk.split.batch(torch.arange(1))[0])
    with torch.no_grad():
        return int(risk.model(first).numel())


def _of_outputs(risk: Risk, directions: Tensor) -> Risk:
    """Return the risk whose losses are inner products of outputs with directions [n, o]."""
    inputs, way, name = risk.split.inputs, risk.split.preprocessing, risk.split.name
    split = Split(inputs=inputs, targets=directions, preprocessing=way, name=name)
    return risk.on(split, loss=_along)


def _along(outputs: Tensor, directions: Tensor) -> Tensor:
    return (outputs.flatten(1) * directions).sum(1)


def _directions(risk: Risk, negative: Negative) -> Iterator[tuple[int, Tensor]]:
    """Yield a sign and eigenvectors times roots of the eigenvalues of that sign, [n, o, o]."""
    spectra = [_spectra(risk, x, y) for x, y in risk.batches()]
    values, vectors = (torch.cat(parts) for parts in zip(*spectra, strict=True))
    if negative == "refuse":
        _check_convex(values)
    rounding = _ABSOLUTE * values.abs().amax(1, keepdim=True)
    for sign in (1, -1) if negative == "count" else (1,):
        roots = torch.where(sign * values > rounding, values.abs(), 0.0).sqrt()
        yield sign, (vectors * roots[:, None, :]).to(risk.dtype).cpu()


def _spectra(risk: Risk, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of the loss's Hessian in the outputs, by example."""

    def loss(z: Tensor, target: Tensor) -> Tensor:
        return risk.loss(z.view(1, *outputs.shape[1:]), target[None])[0]

    with torch.no_grad():
        outputs = risk.model(x)
    flat = outputs.reshape(len(outputs), -1)
    values, vectors = torch.linalg.eigh(vmap(jacrev(jacrev(loss)))(flat.double(), y))
    return values, vectors


def _check_convex(eigenvalues: Tensor) -> None:
    least, size = float(eigenvalues.min()), float(eigenvalues.abs().max())
    if least < -(_RELATIVE * size + _ABSOLUTE):
        raise NotConvexError(
            f"`risk` must have a loss that is convex in the outputs; got {least:.3g} as an "
            "eigenvalue of its Hessian by them."
        )
