"""Rescaled and permuted copies of a model, checked to compute the same function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, final

import torch
from torch import Tensor, nn

from gengap._checks import check_positive
from gengap._streams import streams

from ._difference import difference, tolerance_of
from ._find import find
from ._inputs import as_inputs
from ._permutations import random_order
from ._symmetries import Symmetries

Factor = float | Sequence[float] | Mapping[str, float] | Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Transformed:
    """A changed copy of a model, and how far its function moved.

    Attributes:
        model: The copy.
        difference: Largest difference of outputs on the inputs given, relative to the largest
            output; of the size of rounding.
        symmetries: What it was changed by.
        log_scales: The log-scales applied, [num_scales]; zeros for a permutation.
    """

    model: nn.Module
    difference: float
    symmetries: Symmetries
    log_scales: Tensor


def rescale(
    model: nn.Module,
    factor: Factor = 10.0,
    *,
    example_inputs: Any = None,
    symmetries: Symmetries | None = None,
    seed: int | None = None,
    tolerance: float | None = None,
) -> nn.Module:
    """Return a copy whose units are rescaled, with the same function. See `transform`."""
    options = {"example_inputs": example_inputs, "symmetries": symmetries, "tolerance": tolerance}
    return transform(model, factor, seed=seed, **options).model


def transform(
    model: nn.Module,
    factor: Factor = 10.0,
    *,
    example_inputs: Any = None,
    symmetries: Symmetries | None = None,
    seed: int | None = None,
    tolerance: float | None = None,
) -> Transformed:
    r"""Rescale the units of a copy of a model and check that its function has not changed.

    With one factor $\alpha$ and one hidden layer, this is the $\alpha$-scale transformation
    $(\theta_1, \theta_2) \mapsto (\alpha \theta_1, \alpha^{-1} \theta_2)$. With several layers
    the outputs of each are multiplied by its factor; biases go along. Factors that are powers of
    two change no digit of the outputs.

    Args:
        model: Any module; not changed.
        factor: One for all units; one for each of `symmetries.rescalings`; by the name of a
            rescaling, or of a module that it multiplies (all that share it get the factor); or one
            for each unit, a tensor.
        example_inputs: A tensor, a tuple of arguments, or a split, on which outputs are compared.
        symmetries: What `find` returned; None finds them.
        seed: If given, factors are drawn for each unit, log-uniformly between 1 / factor and
            factor.
        tolerance: Largest relative difference accepted; None is 1e-4 in float32, 1e-10 in
            float64.

    Raises:
        ValueError: The network has nothing to rescale, a factor is not positive, the symmetries
            are those of another network, or the function changed, as it does when numbers overflow.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, definition 5, theorem 3 and appendix B; one factor a
        unit is ours.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> changed = transform(net, 8.0)
        >>> changed.difference, torch.equal(changed.model[0].weight, 8 * net[0].weight)
        (0.0, True)
    """
    inputs = as_inputs(model, example_inputs)
    found = symmetries or find(model, inputs)
    if not found.num_scales:
        raise ValueError(f"`model` must have units to rescale; got none{_first_reason(found)}.")
    log_scales = _log_scales(found, factor, seed)
    changed = found.apply(model, log_scales)
    return _checked(model, changed, inputs, found, log_scales, tolerance)


def permute(
    model: nn.Module,
    *,
    example_inputs: Any = None,
    symmetries: Symmetries | None = None,
    seed: int = 0,
    tolerance: float | None = None,
) -> nn.Module:
    """Return a copy whose units have changed places at random, with the same function.

    Args:
        model: Any module; not changed.
        example_inputs: As for `transform`.
        symmetries: What `find` returned; None finds them.
        seed: Of the order.
        tolerance: As for `transform`.

    Raises:
        ValueError: No units can change places, or the function changed.
    """
    inputs = as_inputs(model, example_inputs)
    found = symmetries or find(model, inputs)
    if not found.permutations:
        raise ValueError(f"`model` must have units to permute; got none{_first_reason(found)}.")
    changed = found.permute(model, random_order(found.exchange, found.exchange.classes, seed))
    return _checked(model, changed, inputs, found, found.log_scales(), tolerance).model


def _checked(
    model: nn.Module,
    changed: nn.Module,
    inputs: tuple[Any, ...],
    found: Symmetries,
    log_scales: Tensor,
    tolerance: float | None,
) -> Transformed:
    gap = difference(model, changed, inputs)
    allowed = tolerance_of(model) if tolerance is None else tolerance
    if not gap <= allowed:
        raise ValueError(
            f"The function must stay within {allowed:g} of itself, relative to the largest output; "
            f"it moved by {gap:.3g}. Use smaller factors, or float64."
        )
    return Transformed(model=changed, difference=gap, symmetries=found, log_scales=log_scales)


def _first_reason(found: Symmetries) -> str:
    return f" ({found.skipped[0]})".replace(".)", ")") if found.skipped else ""


def _log_scales(found: Symmetries, factor: Factor, seed: int | None) -> Tensor:
    if isinstance(factor, Mapping):
        return _by_name(found, factor)
    if isinstance(factor, Tensor) and factor.ndim:
        values = factor.detach().to("cpu", torch.float64)
        if values.shape != (found.num_scales,):
            raise ValueError(
                f"`factor` must have shape ({found.num_scales},), one a unit; got "
                f"{tuple(values.shape)}."
            )
        check_positive("factor", float(values.min()))
        check_positive("factor", float(values.max()))
        return values.log()
    if isinstance(factor, Sequence) and not isinstance(factor, str):
        if len(factor) != len(found.rescalings):
            raise ValueError(
                f"`factor` must be {len(found.rescalings)} numbers, one a rescaling; got "
                f"{len(factor)}."
            )
        log_scales = found.log_scales()
        for place, value in zip(found.rescalings, factor, strict=True):
            log_scales[place.scales] = _log(value)
        return log_scales
    size = _log(factor)
    if seed is None:
        return size.expand(found.num_scales).clone()
    draw = torch.rand(found.num_scales, generator=streams(seed)("factors"), dtype=torch.float64)
    return (2 * draw - 1) * size


def _by_name(found: Symmetries, factors: Mapping[str, float]) -> Tensor:
    log_scales = found.log_scales()
    for name, value in factors.items():
        places = [
            place
            for place in found.rescalings
            if name == place.name or name in place.name.split(" -> ")[0].split(", ")
        ]
        if not places:
            names = ", ".join(repr(place.name) for place in found.rescalings)
            raise ValueError(f"`factor` must name one of {names}; got {name!r}.")
        for place in places:
            log_scales[place.scales] = _log(value)
    return log_scales


def _log(factor: object) -> Tensor:
    """Return the logarithm of one factor."""
    if not isinstance(factor, (Real, Tensor)) or (
        isinstance(factor, Tensor) and factor.numel() > 1
    ):
        raise TypeError(
            "`factor` must be a number, a sequence or mapping of numbers, or a tensor; got "
            f"{factor!r}."
        )
    check_positive("factor", float(factor))
    return torch.tensor(float(factor), dtype=torch.float64).log()
