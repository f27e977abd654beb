"""Which rows of a table conditions such as `status=fitted` or `seed<3` keep."""

import difflib
import operator
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gengap._errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_CONDITION = re.compile(r"\s*([^!<>=~]+?)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}


def where(frame: "pd.DataFrame", conditions: Sequence[str]) -> "pd.DataFrame":
    """Return the rows that meet every condition, in their order.

    A condition is COLUMN, a relation, VALUE. Columns of numbers are compared as numbers, others
    as text; `~` asks whether the text holds the value, in any case. An empty value stands for
    what is missing, which meets no other condition than `COLUMN=` and `COLUMN!=VALUE`.

    Raises:
        UsageError: There is no such column, or the value does not fit it.
    """
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise UsageError(
                "`where` must hold conditions such as status=fitted, seed<3, test_accuracy>=0.9 "
                f"or corruption~labels; got {condition!r}."
            )
        name, relation, value = match.groups()
        check_columns("where", frame, [name])
        frame = frame[_kept(frame[name], relation, value, condition)]
    return frame


def check_columns(option: str, frame: "pd.DataFrame", names: Sequence[str]) -> None:
    """Require that a table has these columns."""
    for name in names:
        if name not in frame.columns:
            close = difflib.get_close_matches(name, list(frame.columns), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(frame.columns)}."
            raise UsageError(f"`{option}` must name columns of the table; got {name!r}; {hint}")


def _kept(column: "pd.Series", relation: str, value: str, condition: str) -> "pd.Series":
    missing = column.isna()
    if not value and relation in ("=", "!="):
        return missing if relation == "=" else ~missing
    if relation == "~":
        text = column.astype(str).str.lower()
        return ~missing & text.str.contains(value.lower(), regex=False)
    compare = _RELATIONS[relation]
    kept = compare(column[~missing], _value(column, relation, value, condition))
    return kept.reindex(column.index, fill_value=relation == "!=").astype(bool)


def _value(column: "pd.Series", relation: str, value: str, condition: str) -> object:
    """Return what a column's cells are compared with."""
    from pandas.api import types

    cells = column.dropna()
    if len(cells) and all(isinstance(cell, bool) for cell in cells.unique()):
        if value.lower() in _TRUTHS and relation in ("=", "!="):
            return _TRUTHS[value.lower()]
        raise UsageError(f"`where` must compare yes or no with = or !=; got {condition!r}.")
    if not types.is_numeric_dtype(cells.infer_objects()):
        return value
    try:
        return float(value)
    except ValueError:
        raise UsageError(
            f"`where` must compare a column of numbers with a number; got {condition!r}."
        ) from None
