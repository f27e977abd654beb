"""Points of parameter space, however they are given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gengap.risk import Risk

Point = nn.Module | Mapping[str, Tensor] | str | Path
"""A module, parameters by name (a state dict does), or a file of weights, `.safetensors`."""


def as_point(given: Point | None, risk: Risk, *, name: str) -> dict[str, Tensor]:
    """Return the trainable parameters of a point, on the risk's device in float64.

    Args:
        given: The point; None is the risk's own.
        risk: Whose parameters they are, by name and shape; what else a point holds is left out.
        name: What the caller calls it, for errors.

    Raises:
        ValueError: A parameter is missing, has another shape, or holds NaN or infinity.
        TypeError: It is none of the kinds of point.
    """
    held = risk.params if given is None else _held(given, name)
    point = {}
    for key, own in risk.params.items():
        if key not in held:
            raise ValueError(
                f"`{name}` must hold every trainable parameter of the model; got none named "
                f"{key!r}."
            )
        if held[key].shape != own.shape:
            raise ValueError(
                f"`{name}` must hold {key!r} in shape {tuple(own.shape)}; got "
                f"{tuple(held[key].shape)}."
            )
        point[key] = held[key].detach().to(risk.device, torch.float64)
        if not bool(point[key].isfinite().all()):
            raise ValueError(f"`{name}` must be finite; got NaN or infinity in {key!r}.")
    return point


def _held(given: Point, name: str) -> Mapping[str, Tensor]:
    if isinstance(given, nn.Module):
        return dict(given.named_parameters())
    if isinstance(given, Mapping):
        return given
    if isinstance(given, str | Path):
        return _read(Path(given), name)
    raise TypeError(
        f"`{name}` must be a module, a dict of parameters, or the path of a .safetensors file; "
        f"got {type(given).__name__}."
    )


def _read(path: Path, name: str) -> dict[str, Tensor]:
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        return safetensors.torch.load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise ValueError(f"`{name}` must be a whole .safetensors file; got {path}.") from error


def difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return first minus second."""
    return {name: value - second[name] for name, value in first.items()}


def dot(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Return the inner product over all parameters."""
    return float(sum((value * second[name]).sum() for name, value in first.items()))


def norm(point: Mapping[str, Tensor]) -> float:
    """Return the Euclidean norm over all parameters."""
    return dot(point, point) ** 0.5


def combine(points: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the sum of weight times point; points of weight 0 are not read."""
    used = [(point, w) for point, w in zip(points, weights, strict=True) if w != 0]
    if not used:
        return {name: torch.zeros_like(value) for name, value in points[0].items()}
    total = {name: w * value for (point, w) in used[:1] for name, value in point.items()}
    for point, w in used[1:]:
        for name, value in point.items():
            total[name].add_(value, alpha=w)
    return total
