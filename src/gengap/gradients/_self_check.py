"""Whether the parts add up: the engine against autograd."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from gengap._reentrant import parameter_gradients
from gengap.risk import Risk


def check_sums(risk: Risk, sums_of: Callable[[Risk], dict[str, Tensor]]) -> None:
    """Require sums to be `.grad`.

    A parameter whose gradient is nothing but rounding, as that of a bias before an InstanceNorm,
    may be off by more than its size allows: then float64 decides.

    Args:
        risk: The examples to sum.
        sums_of: Returns names to sums of gradients of a risk.

    Raises:
        ValueError: A parameter's do not agree; it is named.
    """
    whole, sums = _plain(risk), sums_of(risk)
    scale = _largest(whole)
    doubt: ValueError | None = None
    for name, expected in whole.items():
        try:
            _compare(name, "sum of gradients", sums[name], expected, _tolerance(risk), scale)
        except ValueError as error:
            if risk.dtype == torch.float64 or not _is_small(sums[name], expected, scale):
                raise
            doubt = error
    if doubt is not None:
        try:
            twin = Risk(risk.model, risk.split, loss=risk.loss, dtype=torch.float64)
        except Exception:  # it does not run in float64
            raise doubt from None
        check_sums(twin, sums_of)


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


def _is_small(found: Tensor, expected: Tensor, scale: float) -> bool:
    """Return whether both are small beside the network's other gradients."""
    return max(float(found.abs().max()), float(expected.abs().max())) <= 1e-3 * scale


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
