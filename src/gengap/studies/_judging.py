"""How the seeds of several networks make one verdict, and how their numbers are written."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from gengap.auditing import verdict
from gengap.report import Measured, Verdict

from ._gather import ENDED

JUDGED = "in every seed of every network with at least two seeds that ended"
"""The tail of a rule that `pooled` decides."""


def values(ends: pd.DataFrame, column: str, **where: object) -> pd.Series:
    """Return a column of the runs that ended, by seed, where other columns have given values."""
    rows = ends[ends["status"].isin(ENDED)]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows.set_index("seed")[column].astype(float)


def pooled(asked: Mapping[str, Sequence[bool]]) -> tuple[Verdict, str]:
    """Judge every network with two seeds or more; name the others."""
    judged = [verdict(holds) for holds in asked.values() if len(holds) > 1]
    lone = [name for name, holds in asked.items() if len(holds) == 1]
    none = [name for name, holds in asked.items() if not holds]
    said = f" One seed only, not judged: {', '.join(lone)}." if lone else ""
    said += f" No run has ended: {', '.join(none)}." if none else ""
    if judged and all(one == "supported" for one in judged):
        return "supported", said
    return ("not supported" if "not supported" in judged else "inconclusive"), said


def percent(numbers: pd.Series) -> str:
    """Write shares in percent, with their spread over seeds."""
    return f"{Measured.of(numbers):.2%}"


def points(numbers: pd.Series) -> str:
    """Write differences of shares in percentage points."""
    return f"{Measured.of(100 * numbers):.2f} points"


def each(numbers: Mapping[str, pd.Series], write: Callable[[pd.Series], str]) -> str:
    """Write the numbers of every network that has some; kept apart from names that hold some."""
    some = {name: write(own) for name, own in numbers.items() if len(own)}
    hard = any("," in name or name.split()[-1].replace(".", "").isdigit() for name in some)
    told = [f"{name}{':' if hard else ''} {words}" for name, words in some.items()]
    return ("; " if hard else ", ").join(told) or "no run has ended"
