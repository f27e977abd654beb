"""Checks of arguments, each raising one sentence: the thing, the rule, what came."""

import difflib
import math
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral


def check_positive(name: str, value: float) -> None:
    """Require a finite number above zero."""
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"`{name}` must be positive and finite; got {value!r}.")


def check_non_negative(name: str, value: float) -> None:
    """Require a finite number of at least zero."""
    if not (_is_finite(value) and value >= 0):
        raise ValueError(f"`{name}` must be at least 0 and finite; got {value!r}.")


def check_probability(name: str, value: float) -> None:
    """Require a number in [0, 1]."""
    check_between(name, value, 0, 1)


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Require a number in [low, high]."""
    if not (_is_finite(value) and low <= value <= high):
        raise ValueError(f"`{name}` must lie in [{low:g}, {high:g}]; got {value!r}.")


def check_count(name: str, value: int, *, least: int = 1) -> int:
    """Require a whole number of at least `least`; returns NumPy's as Python's."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}; got {value!r}.")
    return int(value)


def keep_counts(fields: object, *names: str, least: int = 1, optional: bool = False) -> None:
    """Require fields of a frozen dataclass to be whole numbers, and keep them as Python's.

    Args:
        fields: The dataclass.
        names: Of the fields.
        least: What each must be at least.
        optional: Whether they may be None.
    """
    for name in names:
        value = getattr(fields, name)
        if value is not None or not optional:
            object.__setattr__(fields, name, check_count(name, value, least=least))


def check_sides(name: str, value: int | Sequence[int] | None) -> int | tuple[int, int] | None:
    """Require a side, or height and width, or None; returns NumPy's numbers as Python's."""
    if value is None:
        return None
    if not isinstance(value, Iterable):
        return check_count(name, value)
    if len(value) != 2:
        raise ValueError(f"`{name}` must be a side or (height, width); got {value!r}.")
    return check_count(name, value[0]), check_count(name, value[1])


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """Return which seeds are meant, given how many or which; at least one."""
    if not isinstance(seeds, Iterable):
        return list(range(check_count("seeds", seeds)))
    chosen = [check_count("seeds", seed, least=0) for seed in seeds]
    check_count("seeds", len(chosen))
    return chosen


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Require one of a few values; a name that is nearly one of them is asked about."""
    if value not in choices:
        allowed = ", ".join(map(repr, choices))
        near = difflib.get_close_matches(
            str(value), [c for c in choices if isinstance(c, str)], n=1
        )
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`{name}` must be one of {allowed}; got {value!r}.{hint}")


def _is_finite(value: object) -> bool:
    """Return whether something is a finite number, which text and None are not."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return False
