"""Finding the symmetries of any network by following one forward pass."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from gengap._streams import streams

from ._difference import difference, precise, tolerance_of
from ._exchange import Exchange, exchange_of
from ._follow import Follower, Rule, follow
from ._inputs import as_inputs
from ._ledger import Skipped
from ._permutations import with_exchange
from ._rules_einsum import RULES as EINSUM
from ._rules_elementwise import RULES as ELEMENTWISE
from ._rules_linear import RULES as LINEAR
from ._rules_moving import RULES as MOVING
from ._rules_normalization import RULES as NORMALIZATION
from ._solve import Exponents, components, merge_uses
from ._symmetries import Norm, Rescaling, Symmetries, modules_of

RULES: dict[str, Rule] = {**ELEMENTWISE, **MOVING, **LINEAR, **EINSUM, **NORMALIZATION}


def find(model: nn.Module, example_inputs: Any = None) -> Symmetries:
    """Find where a network can be rescaled and its units exchanged without changing its function.

    One forward pass of a copy in evaluation mode is followed call by call, functions and modules
    alike, so Python control flow is no obstacle; what is found holds for the way taken by these
    inputs. Every element of every activation carries a label for its scale; linear layers make new
    ones, homogeneous functions pass them on, sums join them, everything else fixes them. What
    remains free is then tried, with random factors, and only what keeps the function is kept.

    Args:
        model: Any module; not changed.
        example_inputs: A tensor with examples along its first axis, a tuple of arguments, or a
            split. None guesses a shape from the first layer.

    Returns:
        The symmetries; printing them tells what was found and what was skipped, and why.

    Raises:
        ValueError: No inputs were given and none could be guessed, or the outputs are not finite
            or not the same from call to call.
        TypeError: The model returns no tensors, or packs them in an object that is no tuple, list,
            dictionary or dataclass.

    Examples:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> print(find(net))
        4 free factors in 1 places
          0 -> 2: 4 units
        permutations in 1 places
          0, 2: 4 units
        skipped 0
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be a torch.nn.Module; got {type(model).__name__}.")
    inputs = as_inputs(model, example_inputs)
    model, inputs = precise(model, inputs)
    if not difference(model, model, inputs) <= tolerance_of(model):
        raise ValueError(
            "`model` must give the same finite outputs twice in evaluation mode; take out what "
            "draws in its forward, such as dropout with training=True."
        )
    found = _tried(model, inputs, _scales(follow(model, inputs, RULES, permuting=False)))
    exchange = exchange_of(follow(model, inputs, RULES, permuting=True))
    return with_exchange(model, inputs, found, exchange)


def _scales(follower: Follower) -> Symmetries:
    merged = merge_uses(follower)
    numbers = components(follower.ledger)
    exponents = {
        name: Exponents(plus=numbers[plus.long()], minus=numbers[minus.long()])
        for name, (plus, minus) in merged.items()
    }
    norms = tuple(
        Norm(
            mean=use.mean,
            variance=use.variance,
            weight=use.weight,
            epsilon=use.epsilon,
            scales=numbers[use.labels.long().clamp(min=0)],
        )
        for use in follower.ledger.norms.values()
    )
    return assemble(exponents, norms, tuple(follower.ledger.skipped.values()))


def assemble(
    exponents: dict[str, Exponents], norms: tuple[Norm, ...], skipped: tuple[Skipped, ...]
) -> Symmetries:
    """Return symmetries of these exponents: scales that nothing takes up dropped, places named."""
    up, down = _roles(exponents)
    for norm in norms:
        for number in _numbers(norm.scales):
            down[abs(number)].add(f"{norm.variance.rpartition('.')[0]} (statistics)")
    kept = [number for number in sorted(up) if down[number]]
    renumber = torch.zeros(max([0, *up, *down]) + 1, dtype=torch.int64)
    renumber[kept] = torch.arange(1, len(kept) + 1)
    places: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = defaultdict(list)
    for number in kept:
        key = tuple(sorted(up[number])), tuple(sorted(down[number]))
        places[key].append(int(renumber[number]) - 1)
    return Symmetries(
        rescalings=tuple(_rescaling(*key, scales) for key, scales in places.items()),
        permutations=(),
        skipped=skipped,
        num_scales=len(kept),
        exponents=_renumbered(exponents, renumber),
        norms=tuple(
            Norm(**{**vars(norm), "scales": _moved(norm.scales, renumber)}) for norm in norms
        ),
        exchange=Exchange(units={}, classes=(), count=0),
    )


def _roles(
    exponents: dict[str, Exponents],
) -> tuple[dict[int, set[str]], dict[int, set[str]]]:
    """Return, for each scale, the parameters it multiplies and those it divides."""
    up: dict[int, set[str]] = defaultdict(set)
    down: dict[int, set[str]] = defaultdict(set)
    for name, pair in exponents.items():
        for labels, sign in ((pair.plus, 1), (pair.minus, -1)):
            for number in _numbers(labels):
                (up if sign * number > 0 else down)[abs(number)].add(name)
    return up, down


def _numbers(labels: Tensor) -> list[int]:
    return [int(number) for number in labels.unique() if number != 0]


def _moved(numbers: Tensor, renumber: Tensor) -> Tensor:
    return renumber[numbers.abs()] * numbers.sign()


def _renumbered(exponents: dict[str, Exponents], renumber: Tensor) -> dict[str, Exponents]:
    found = {}
    for name, pair in exponents.items():
        plus, minus = _moved(pair.plus, renumber), _moved(pair.minus, renumber)
        if plus.any() or minus.any():
            found[name] = Exponents(plus=plus, minus=minus)
    return found


def _rescaling(up: tuple[str, ...], down: tuple[str, ...], scales: list[int]) -> Rescaling:
    return Rescaling(
        name=f"{modules_of(up)} -> {modules_of(down)}",
        multiplied=up,
        divided=tuple(name for name in down if not name.endswith("(statistics)")),
        units=len(scales),
        scales=torch.tensor(scales),
        one_sided=all(name.endswith("(statistics)") for name in down),
    )


def _tried(model: nn.Module, inputs: tuple[Any, ...], found: Symmetries) -> Symmetries:
    """Keep what keeps the function, with random factors, in float64 where the model allows it."""
    draw = torch.rand(found.num_scales, generator=streams(0)("trial"), dtype=torch.float64)
    draw = 3 * (draw - 0.5)
    tolerance = tolerance_of(model)
    if difference(model, found.apply(model, draw), inputs) <= tolerance:
        return found
    bad, skipped = torch.zeros(found.num_scales, dtype=torch.bool), list(found.skipped)
    for place in found.rescalings:
        alone = torch.zeros_like(draw)
        alone[place.scales] = draw[place.scales]
        if not difference(model, found.apply(model, alone), inputs) <= tolerance:
            bad[place.scales] = True
            reason = "could be rescaled by its structure, but the function changed when tried"
            skipped.append(
                Skipped(module=place.name, kind="rescaling", operation="forward", reason=reason)
            )
    bad = bad if bad.any() else ~bad
    exponents, norms = _without(found, bad)
    return _tried(model, inputs, assemble(exponents, norms, tuple(skipped)))


def _without(found: Symmetries, bad: Tensor) -> tuple[dict[str, Exponents], tuple[Norm, ...]]:
    renumber = torch.arange(found.num_scales + 1)
    renumber[1:][bad] = 0
    norms = tuple(
        Norm(**{**vars(norm), "scales": _moved(norm.scales, renumber)}) for norm in found.norms
    )
    return _renumbered(dict(found.exponents), renumber), norms
