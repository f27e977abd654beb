"""A number computed from a risk, and what there is to know about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from gengap._checks import check_count
from gengap.risk import Risk


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """What a measure found.

    Numbers of NumPy and tensors without axes become floats.

    Attributes:
        value: The number, in the measure's units.
        standard_error: Of the number, in the same units; 0 where it is exact, NaN where it is a
            bound or not known.
        passes: What it cost, in forward-and-backward passes over the examples; a forward pass
            counts as a third.
        note: What to know about this number, or empty.
    """

    value: float
    standard_error: float = 0.0
    passes: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "standard_error", "passes"):
            given = getattr(self, name)
            try:
                number = float(given)
            except (TypeError, ValueError, RuntimeError):
                raise TypeError(
                    f"`{name}` must be a number; got {type(given).__name__} {given!r}."
                ) from None
            object.__setattr__(self, name, number)
        _check_text(self, "note")


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """What a measure is asked about.

    Attributes:
        risk: The model on the examples it is measured on, as a rule those it was trained on.
        test: The same model on other examples, or None.
        seed: Of whatever the measure draws.
        known: What measures of the library leave for each other: the numbers that several of them
            need. For a measure of your own it is empty.
    """

    risk: Risk
    test: Risk | None = None
    seed: int = 0
    known: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def held_out(self) -> Risk:
        """Return the risk on the other examples, or say that they are missing."""
        if self.test is None:
            raise ValueError("`test` must be given for this measure; got None.")
        return self.test


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number computed from a risk, and what there is to know about it.

    Calling it with a risk gives the number alone.

    Attributes:
        name: What to call it.
        formula: What it is, in one line.
        units: Of the value.
        range: What values there can be.
        cost: Rough cost in forward-and-backward passes.
        invariant: Whether it stays when positive factors move from the weights of a unit to those
            behind it, so that the function stays; None where that depends: see `caveat`.
        function: Computes it.
        caveat: What to keep in mind.
        source: Where it comes from.
    """

    name: str
    formula: str
    units: str
    range: str
    cost: str
    invariant: bool | None
    function: Callable[[Question], Value]
    caveat: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        _check_text(self, "name", "units", "caveat")
        if self.invariant is not None and not isinstance(self.invariant, bool):
            raise TypeError(
                f"`invariant` of the measure {self.name!r} must be True, False or None; got "
                f"{type(self.invariant).__name__} {self.invariant!r}."
            )

    def of(self, risk: Risk, *, test: Risk | None = None, seed: int = 0) -> Value:
        """Return the value with its standard error and its cost."""
        check_count("seed", seed, least=0)
        return self.function(Question(risk=risk, test=test, seed=seed))

    def __call__(self, risk: Risk) -> float:
        """Return the number, at seed 0."""
        return self.of(risk).value


def _check_text(fields: object, *names: str) -> None:
    """Require fields of a `Value` or a `Measure` to be text."""
    for name in names:
        given = getattr(fields, name)
        if not isinstance(given, str):
            raise TypeError(
                f"`{name}` of a {type(fields).__name__} must be text; got "
                f"{type(given).__name__} {given!r}."
            )
