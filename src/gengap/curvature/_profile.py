"""Loss and accuracy along a path, and how uneven it is."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch import Tensor

from gengap._checks import check_choice

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """Loss and accuracy at points along a path from start (alpha 0) to end (alpha 1).

    Attributes:
        kind: "line", "curve", "bezier" or "random line".
        alphas: Where along the path, ascending, float64 [k].
        losses: Half ("train", "test") to mean losses, float64 [k].
        accuracies: Half to accuracies in [0, 1], float64 [k]; NaN without classes.
        length: Distance from start to end, in the units of the parameters.
    """

    kind: str
    alphas: Tensor
    losses: dict[str, Tensor]
    accuracies: dict[str, Tensor]
    length: float

    def __len__(self) -> int:
        return len(self.alphas)

    def __repr__(self) -> str:
        halves = ", ".join(self.losses)
        return (
            f"Profile({self.kind}, {len(self)} points from {float(self.alphas[0]):g} to "
            f"{float(self.alphas[-1]):g}, {halves})"
        )

    def frame(self) -> "pd.DataFrame":
        """Return one row a point and half: alpha, half, loss, accuracy."""
        import pandas as pd

        parts = [
            pd.DataFrame({
                "alpha": self.alphas.numpy(),
                "half": half,
                "loss": losses.numpy(),
                "accuracy": self.accuracies[half].numpy(),
            })
            for half, losses in self.losses.items()
        ]
        return pd.concat(parts, ignore_index=True)


@final
@dataclass(frozen=True, kw_only=True)
class Bump:
    """How far the loss of a path goes above what it is compared with, and where.

    Attributes:
        value: Height, in the units of the loss; at least 0. NaN where a loss is not finite.
        alpha: Where it is highest.
        since: Where the lowest loss before it is; 0 for a barrier.
    """

    value: float
    alpha: float
    since: float = 0.0

    def __float__(self) -> float:
        return self.value


def barrier(profile: Profile, *, half: str = "train") -> Bump:
    r"""Return how far the loss between start and end goes above the chord between them.

    $\max_{0 \le a \le 1} J(a) - [(1 - a) J(0) + a J(1)]$

    0 for a loss that is convex along the path. A maximum over the points read: with more points
    it can only grow. Not invariant to symmetries of either end, which move it through parameter
    space while its function stays. In the units of the loss.

    Args:
        profile: A path that was read at alpha 0 and 1.
        half: "train" or "test".

    Raises:
        ValueError: The path was not read at 0 or 1, or the half not at all.
    """
    alphas, losses = _between(profile, half)
    if 0.0 not in alphas or 1.0 not in alphas:
        raise ValueError(f"`profile` must have been read at alpha 0 and 1; got {alphas}.")
    if not all(map(math.isfinite, losses)):
        return Bump(value=math.nan, alpha=math.nan)
    first, last = losses[alphas.index(0.0)], losses[alphas.index(1.0)]
    above = [loss - ((1 - a) * first + a * last) for a, loss in zip(alphas, losses, strict=True)]
    place = max(range(len(above)), key=above.__getitem__)
    return Bump(value=max(above[place], 0.0), alpha=alphas[place])


def monotonicity(profile: Profile, *, half: str = "train") -> Bump:
    r"""Return how far the loss rises on the way from start to end.

    $\max_{0 \le a \le 1} [J(a) - \min_{0 \le a' \le a} J(a')]$

    0 where the loss never rises, as Goodfellow et al. found of most lines from initialization to
    the end of training. A maximum over the points read, in the units of the loss.

    Args:
        profile: A path that was read somewhere in [0, 1].
        half: "train" or "test".

    Source:
        Goodfellow, Vinyals, Saxe (2015), arXiv:1412.6544, for the question; the number is ours.
    """
    alphas, losses = _between(profile, half)
    if not all(map(math.isfinite, losses)):
        return Bump(value=math.nan, alpha=math.nan)
    best = Bump(value=0.0, alpha=alphas[0], since=alphas[0])
    lowest = 0
    for place, loss in enumerate(losses):
        if loss < losses[lowest]:
            lowest = place
        if loss - losses[lowest] > best.value:
            best = Bump(value=loss - losses[lowest], alpha=alphas[place], since=alphas[lowest])
    return best


def _between(profile: Profile, half: str) -> tuple[list[float], list[float]]:
    """Return alphas and losses from 0 to 1."""
    check_choice("half", half, tuple(profile.losses))
    pairs = zip(profile.alphas.tolist(), profile.losses[half].tolist(), strict=True)
    kept = [(a, loss) for a, loss in pairs if 0 <= a <= 1]
    if not kept:
        raise ValueError("`profile` must have been read somewhere from alpha 0 to 1; got nothing.")
    return [a for a, _ in kept], [loss for _, loss in kept]
