"""The last part of a step that all optimizers here share: momentum and descent."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from gengap._checks import check_non_negative


def check_group(group: Mapping[str, Any]) -> None:
    """Require the numbers of a group of parameters to be at least 0."""
    for name in ("lr", "weight_decay", "momentum"):
        check_non_negative(name, float(group[name]))


def descend(
    parameters: list[Tensor],
    directions: list[Tensor],
    *,
    state: MutableMapping[Tensor, dict[str, Any]],
    group: dict[str, Any],
) -> None:
    r"""Update in place: $v \leftarrow \mu v + d$, $\theta \leftarrow \theta - \eta v$.

    Args:
        parameters: What to update.
        directions: One a parameter; without momentum, $v = d$.
        state: Of the optimizer; holds the velocities where there is momentum.
        group: Gives `lr` and `momentum`; where `foreach` is False, one parameter goes after the
            other, else all of them in fused calls.
    """
    if group.get("foreach") is False and len(parameters) > 1:
        for p, direction in zip(parameters, directions, strict=True):
            descend([p], [direction], state=state, group=group)
        return
    momentum = group["momentum"]
    if momentum and parameters:
        for p, direction in zip(parameters, directions, strict=True):
            if "velocity" not in state[p]:
                state[p]["velocity"] = torch.zeros_like(direction)
        velocities = [state[p]["velocity"] for p in parameters]
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, directions)
        directions = velocities
    if parameters:
        torch._foreach_add_(parameters, directions, alpha=-float(group["lr"]))
