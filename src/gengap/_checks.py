"""Checks of arguments, each raising one sentence: the thing, the rule, what came."""

import math
from collections.abc import Collection


def check_positive(name: str, value: float) -> None:
    """Require a finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be positive and finite; got {value!r}.")


def check_non_negative(name: str, value: float) -> None:
    """Require a finite number of at least zero."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"`{name}` must be at least 0 and finite; got {value!r}.")


def check_probability(name: str, value: float) -> None:
    """Require a number in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must lie in [0, 1]; got {value!r}.")


def check_count(name: str, value: int, *, least: int = 1) -> None:
    """Require a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}; got {value!r}.")


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Require one of a few values."""
    if value not in choices:
        allowed = ", ".join(map(repr, choices))
        raise ValueError(f"`{name}` must be one of {allowed}; got {value!r}.")
