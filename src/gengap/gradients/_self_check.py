"""Whether the parts add up: the engine against autograd."""

from collections.abc import Iterable

import torch
from torch import Tensor

from gengap._reentrant import parameter_gradients
from gengap.risk import Risk


def check_sums(risk: Risk, sums: dict[str, Tensor]) -> None:
    """Require sums to be `.grad`.

    Args:
        risk: The examples that were summed.
        sums: Name to sum of gradients.

    Raises:
        ValueError: A parameter's do not agree; it is named.
    """
    whole = _plain(risk)
    scale = _largest(whole)
    for name, expected in whole.items():
        _compare(name, "sum of gradients", sums[name], expected, _tolerance(risk), scale)


def check_norms(risk: Risk, norms: dict[str, Tensor], examples: Iterable[int]) -> None:
    """Require the norms of some examples to be those that each has alone.

    Args:
        risk: The examples.
        norms: Name to squared norms [n].
        examples: Which of them.

    Raises:
        ValueError: A parameter's do not agree; it is named.
    """
    for i in examples:
        alone = _plain(risk[i : i + 1])
        scale = _largest(alone)
        for name, gradient in alone.items():
            expected = gradient.double().square().sum()
            what = f"squared norm for example {i}"
            _compare(name, what, norms[name][i], expected, 2 * _tolerance(risk), scale**2)


def _tolerance(risk: Risk) -> float:
    rounding = torch.finfo(risk.dtype).eps
    return 1e-9 if risk.dtype == torch.float64 else max(1e-3, 32 * rounding)


def _largest(gradients: dict[str, Tensor]) -> float:
    return max((float(g.abs().max()) for g in gradients.values() if g.numel()), default=0.0)


def _compare(
    name: str, what: str, found: Tensor, expected: Tensor, tolerance: float, scale: float
) -> None:
    expected = expected.double()
    if not expected.numel():
        return
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
    grads = parameter_gradients(total, list(params.values()))
    return {
        name: torch.zeros_like(p) if grad is None else grad.to_dense()
        for (name, p), grad in zip(params.items(), grads, strict=True)
    }
