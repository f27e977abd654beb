"""The diagonal of the Gauss-Newton matrix, exactly, one example and output direction at a time."""

import torch
from torch import Tensor
from torch.func import functional_call, grad, jacrev, vmap

from gengap.risk import Risk

_FLOATS = 1 << 24


def gauss_newton_diagonal(risk: Risk) -> dict[str, Tensor]:
    r"""Return the diagonal of $\frac1n \sum_i J_i^\top L_i J_i$ by name, float64.

    Where the outputs are linear in every single parameter, as in networks with ReLU and
    max-pooling and no parameter used twice, it is the diagonal of the Hessian too.

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
        factors = _roots(risk, outputs, y)
        rows = max(1, _FLOATS // (count * factors.shape[-1]))
        for part, roots in zip(x.split(rows), factors.split(rows), strict=True):
            for name, value in vmap(squares)(part, roots).items():
                total[name] += value.double().sum(0)
    return {name: value / risk.n for name, value in total.items()}


def _roots(risk: Risk, outputs: Tensor, y: Tensor) -> Tensor:
    """Return a root of the loss's Hessian in the outputs, for each example, [b, c, c]."""

    def loss(z: Tensor, target: Tensor) -> Tensor:
        return risk.loss(z.view(1, *outputs.shape[1:]), target[None])[0]

    flat = outputs.reshape(len(outputs), -1)
    curvature = vmap(jacrev(jacrev(loss)))(flat.double(), y)
    values, vectors = torch.linalg.eigh(curvature)
    return (vectors * values.clamp(min=0).sqrt()[:, None, :]).to(outputs.dtype)
