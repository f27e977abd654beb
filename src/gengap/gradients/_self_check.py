"""Whether the parts add up: the engine against autograd, on the first examples."""

import torch
from torch import Tensor

from gengap.risk import Risk


def check_parts(risk: Risk, norms: dict[str, Tensor], sums: dict[str, Tensor]) -> None:
    """Require sums to be `.grad`, and the norms of two examples those each has alone.

    Args:
        risk: The examples that were summed.
        norms: Name to squared norms [n].
        sums: Name to sum of gradients.

    Raises:
        ValueError: A parameter's do not agree; it is named.
    """
    rounding = torch.finfo(risk.dtype).eps
    tolerance = 1e-9 if risk.dtype == torch.float64 else max(1e-3, 32 * rounding)
    whole = _plain(risk)
    scale = max(float(g.abs().max()) for g in whole.values())
    for name, expected in whole.items():
        _compare(name, "sum of gradients", sums[name], expected, tolerance, scale)
    for i in sorted({0, risk.n - 1}):
        alone = _plain(risk[i : i + 1])
        for name, gradient in alone.items():
            expected = gradient.double().square().sum()
            what = f"squared norm for example {i}"
            _compare(name, what, norms[name][i], expected, 2 * tolerance, scale**2)


def _compare(
    name: str, what: str, found: Tensor, expected: Tensor, tolerance: float, scale: float
) -> None:
    expected = expected.double()
    apart = float((found.double() - expected).abs().max())
    allowed = tolerance * (float(expected.abs().max()) + 1e-3 * scale)
    if not apart <= allowed:
        raise ValueError(
            f"`model` must give per-example gradients that add up, but the {what} of parameter "
            f"{name!r} is off by {apart:.2g} where {allowed:.2g} is rounding. Please report the "
            "layer; leave `check` on meanwhile."
        )


def _plain(risk: Risk) -> dict[str, Tensor]:
    params = {name: p for name, p in risk.model.named_parameters() if p.requires_grad}
    x, y = next(iter(risk.batches()))
    with torch.enable_grad():
        total = risk.losses(risk.model(x), y).sum()
    grads = torch.autograd.grad(total, list(params.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if grad is None else grad
        for (name, p), grad in zip(params.items(), grads, strict=True)
    }
