"""The diagonal of the Gauss-Newton matrix, exactly, one example and output direction at a time."""

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from gengap._functional import functional_call
from gengap.risk import Risk

_FLOATS = 1 << 24
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12


def gauss_newton_diagonal(risk: Risk, *, convex: bool) -> dict[str, Tensor]:
    r"""Return the diagonal of $\frac1n \sum_i J_i^\top L_i J_i$ by name, float64.

    Where the outputs are linear in every single parameter, as in networks with ReLU and
    max-pooling and no parameter used twice, it is the diagonal of the Hessian too.

    Args:
        risk: Model, loss and split.
        convex: Whether to refuse a loss that is not convex in the outputs; else its negative
            curvature counts as zero.

    Raises:
        ValueError: `convex`, and the loss is not convex in the outputs.

    Cost: c backward passes an example, of outputs [n, c].
    """
    params = risk.params
    total = {k: torch.zeros_like(p, dtype=torch.float64) for k, p in params.items()}
    count = sum(p.numel() for p in params.values())

    def output(theta: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(risk.model, theta, (x[None],))[0].reshape(-1)

    def squares(x: Tensor, factors: Tensor) -> dict[str, Tensor]:
        def along(direction: Tensor) -> dict[str, Tensor]:
            return grad(lambda theta: output(theta, x) @ direction)(params)

        return {k: g.square().sum(0) for k, g in vmap(along)(factors.T).items()}

    for x, y in risk.batches():
        with torch.no_grad():
            outputs = risk.model(x)
        values, vectors = _spectra(risk, outputs, y)
        if convex:
            _check_convex(values)
        roots = values.clamp(min=0).sqrt()
        factors = (vectors * roots[:, None, :]).to(outputs.dtype)
        rows = max(1, _FLOATS // (count * factors.shape[-1]))
        for part, some in zip(x.split(rows), factors.split(rows), strict=True):
            for name, value in vmap(squares)(part, some).items():
                total[name] += value.double().sum(0)
    return {name: value / risk.n for name, value in total.items()}


def _spectra(risk: Risk, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of the loss's Hessian in the outputs, by example."""

    def loss(z: Tensor, target: Tensor) -> Tensor:
        return risk.loss(z.view(1, *outputs.shape[1:]), target[None])[0]

    flat = outputs.reshape(len(outputs), -1)
    values, vectors = torch.linalg.eigh(vmap(jacrev(jacrev(loss)))(flat.double(), y))
    return values, vectors


def _check_convex(eigenvalues: Tensor) -> None:
    least, size = float(eigenvalues.min()), float(eigenvalues.abs().max())
    if least < -(_RELATIVE * size + _ABSOLUTE):
        raise ValueError(
            "`risk` must have a loss that is convex in the outputs for the measure 'trace'; got "
            f"{least:.3g} as an eigenvalue of its Hessian by them. Give the measure as a function "
            "of a risk."
        )
