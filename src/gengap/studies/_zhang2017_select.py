"""Which rows of Zhang et al. (2017) are asked, and the runs of a row."""

from typing import Any

import pandas as pd

from ._judging import values
from ._zhang2017_trials import ROWS, Row, Scale, runs_at


def of_row(ends: pd.DataFrame, row: Row, column: str) -> pd.Series:
    """Return a column of the runs of a row that ended, by seed."""
    return values(ends, column, row=ROWS.index(row))


def networks(scale: Scale, **where: Any) -> list[str]:
    """Return the networks with a row at this scale."""
    return list(dict.fromkeys(row.name for row in rows_of(scale, **where)))


def rows_of(scale: Scale, *, table: int = 1, **where: Any) -> list[Row]:
    """Return the rows of a table that are run at a scale and have these attributes."""
    rows = [row for row in ROWS if row.table == table and runs_at(row, scale)]
    return [row for row in rows if all(getattr(row, k) == v for k, v in where.items())]
