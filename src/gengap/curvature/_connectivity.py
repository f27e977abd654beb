"""How well a path connects its ends, as one number with a sign."""

import math
from dataclasses import dataclass
from typing import Literal, final

from gengap._checks import check_choice

from ._profile import Profile


@final
@dataclass(frozen=True, kw_only=True)
class Connectivity:
    """How far a path leaves the mean of its ends, and where.

    Attributes:
        value: Below 0 for a barrier, above 0 for a path that finds better points than its ends;
            in the units of the loss, or a difference of error rates in [-1, 1]. NaN where a
            point of the path is not finite.
        alpha: Where along the path.
    """

    value: float
    alpha: float

    def __float__(self) -> float:
        return self.value


def mode_connectivity(
    profile: Profile, *, half: str = "train", quantity: Literal["loss", "error"] = "loss"
) -> Connectivity:
    r"""Return the mean of the ends less the point of a path that differs most from it.

    $mc = \frac12 (L(0) + L(1)) - L(t^*)$,
    $t^* = \arg\max_t |\frac12 (L(0) + L(1)) - L(t)|$

    Over the points read: with more points its size can only grow. It belongs to the path, so
    that a barrier says that this path has one, not that every path does. Not invariant to
    symmetries of either end, such as an exchange of its hidden units.

    Args:
        profile: A path that was read at alpha 0 and 1, as of `bezier` or `line`.
        half: "train" or "test".
        quantity: "loss", or "error" for the share of examples that are wrong.

    Raises:
        ValueError: The path was not read at 0 or 1, or the half not at all.

    Source:
        Yang, Hodgkinson, Theisen, Zou, Gonzalez, Ramchandran, Mahoney (2021), arXiv:2107.11228.
    """
    check_choice("half", half, tuple(profile.losses))
    check_choice("quantity", quantity, ("loss", "error"))
    values = profile.losses[half] if quantity == "loss" else 1 - profile.accuracies[half]
    pairs = zip(profile.alphas.tolist(), values.tolist(), strict=True)
    path = {alpha: value for alpha, value in pairs if 0 <= alpha <= 1}
    if 0.0 not in path or 1.0 not in path:
        raise ValueError(f"`profile` must have been read at alpha 0 and 1; got {list(path)}.")
    if not all(map(math.isfinite, path.values())):
        return Connectivity(value=math.nan, alpha=math.nan)
    ends = (path[0.0] + path[1.0]) / 2
    alpha = max(path, key=lambda place: abs(ends - path[place]))
    return Connectivity(value=ends - path[alpha], alpha=alpha)
