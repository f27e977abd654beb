"""How far apart the outputs of two models are."""

from typing import Any

import torch
from torch import Tensor, nn

from gengap._copies import copy_of

from ._outputs import tensors_of_outputs

_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}


def difference(model: nn.Module, other: nn.Module, inputs: tuple[Any, ...]) -> float:
    r"""Return the largest difference of two models' outputs, relative to the largest output.

    $\max_i |f_i - g_i| / \max_i |f_i|$ over all entries of all outputs, both in evaluation mode.
    """
    first, second = _outputs(model, inputs), _outputs(other, inputs)
    gap = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    if any(not torch.isfinite(b).all() for b in second):
        return float("inf")
    size = max(float(a.abs().max()) for a in first)
    return gap / size if size > 0 else gap


def tolerance_of(model: nn.Module) -> float:
    """Return the difference that rounding may make in a model's dtype."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    return _TOLERANCES.get(torch.float32 if first is None else first.dtype, 5e-2)


def _outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    if any(module.training for module in model.modules()):
        model = copy_of(model)
        model.eval()
    with torch.no_grad():
        return [value.double() for value in tensors_of_outputs(model(*inputs))]


def precise(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return model and inputs in float64, or as they are if the model does not take that."""
    wide = copy_of(model).double()
    wide.eval()
    cast = tuple(
        x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs
    )
    try:
        with torch.no_grad():
            wide(*cast)
    except RuntimeError:
        plain = copy_of(model)
        plain.eval()
        return plain, inputs
    return wide, cast
