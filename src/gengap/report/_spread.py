"""Repetitions summed up: a mean with what lies around it."""

from typing import Literal

import pandas as pd

from gengap._checks import check_choice

Spread = Literal["range", "sd"]
"""What is shown around a mean: from least to largest, or a standard deviation either way."""


def check_columns(frame: pd.DataFrame, *columns: str | None) -> None:
    """Require columns of a frame."""
    for column in columns:
        if column is not None and column not in frame.columns:
            raise ValueError(
                f"`frame` must have a column {column!r}; got {list(map(str, frame.columns))}."
            )


def summarize(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    group: str,
    spread: Spread | None = "range",
    unit: str | None = None,
) -> pd.DataFrame:
    """Return one row for each group and x: mean of y, what lies around it, and how many.

    Missing values of y are left out. The order of groups and of x is that of the frame, numbers
    of x sorted.

    Args:
        frame: One row for each group, x and repetition.
        x: Column along which the values run.
        y: Column averaged.
        group: Column that names the group.
        spread: "range" for lowest and highest, "sd" for mean ± one standard deviation (divisor
            count - 1; missing for one repetition), None for no spread.
        unit: Column that names the repetition, such as the seed. A repetition that ends before
            the last x of its group then keeps its last value until there, so that a run that
            stopped early does not leave the mean.

    Returns:
        Columns group, x, y, and with a spread `y_low`, `y_high`; and `count`.
    """
    check_columns(frame, x, y, group, unit)
    if spread is not None:
        check_choice("spread", spread, ("range", "sd"))
    rows = frame if unit is None else _carried(frame, x=x, y=y, group=group, unit=unit)
    rows = rows.loc[rows[y].notna(), [group, x, y]]
    grouped = rows.groupby([group, x], sort=False, observed=True)[y]
    out = grouped.mean().to_frame(y)
    if spread == "range":
        out[f"{y}_low"], out[f"{y}_high"] = grouped.min(), grouped.max()
    elif spread == "sd":
        deviation = grouped.std(ddof=1)
        out[f"{y}_low"], out[f"{y}_high"] = out[y] - deviation, out[y] + deviation
    out["count"] = grouped.count()
    out = out.reset_index()
    if not pd.api.types.is_numeric_dtype(out[x]):
        return out
    place = {name: turn for turn, name in enumerate(out[group].unique())}
    return out.sort_values(
        [group, x], key=lambda column: column.map(place) if column.name == group else column
    ).reset_index(drop=True)


def _carried(frame: pd.DataFrame, *, x: str, y: str, group: str, unit: str) -> pd.DataFrame:
    """Let every repetition keep its last value until the last x of its group."""
    parts = []
    for name, part in frame.groupby(group, sort=False, observed=True):
        wide = part.pivot_table(index=x, columns=unit, values=y, dropna=False, sort=True)
        wide = wide.ffill(limit_area="outside")
        long = wide.reset_index().melt(id_vars=x, var_name=unit, value_name=y)
        parts.append(long.assign(**{group: name}))
    return pd.concat(parts, ignore_index=True)
