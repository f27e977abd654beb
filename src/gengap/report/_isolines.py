"""Lines of equal value over a grid, for contour charts."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

Place = tuple[float, float]


def isolines(
    xs: Sequence[float],
    ys: Sequence[float],
    values: Mapping[tuple[int, int], float],
    levels: Sequence[float],
) -> list[tuple[float, Place, Place]]:
    """Return pieces of the lines on which the value, linear along edges, is at a level.

    Marching squares; in a saddle, the two pieces that its mean value joins.

    Args:
        xs: Coordinates of the columns, ascending.
        ys: Coordinates of the rows, ascending.
        values: (column, row) to value; of a square of which one is missing or not finite the
            triangle is taken that is left.
        levels: The values of the lines.

    Returns:
        Level and both ends of each piece.
    """
    found = []
    for i, (left, right) in enumerate(pairwise(xs)):
        for j, (low, high) in enumerate(pairwise(ys)):
            keys = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
            corners = [(left, low), (right, low), (right, high), (left, high)]
            known = [
                (corner, values[key])
                for key, corner in zip(keys, corners, strict=True)
                if math.isfinite(values.get(key, math.nan))
            ]
            if len(known) > 2:
                for level in levels:
                    found += [(level, *piece) for piece in _pieces(known, level)]
    return found


def _pieces(known: Sequence[tuple[Place, float]], level: float) -> list[tuple[Place, Place]]:
    """Return the line's pieces within one square, or the triangle that is left of it."""
    crossed = []
    for (start, a), (end, b) in zip(known, [*known[1:], known[0]], strict=True):
        if (a < level) != (b < level):
            share = (level - a) / (b - a)
            crossed.append((
                start[0] + share * (end[0] - start[0]),
                start[1] + share * (end[1] - start[1]),
            ))
    if len(crossed) == 2:
        return [(crossed[0], crossed[1])]
    if len(crossed) < 4:
        return []
    heights = [height for _, height in known]
    if (sum(heights) / 4 < level) == (heights[0] < level):
        return [(crossed[0], crossed[1]), (crossed[2], crossed[3])]
    return [(crossed[3], crossed[0]), (crossed[1], crossed[2])]
