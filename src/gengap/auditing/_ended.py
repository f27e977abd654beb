"""What an audit says where runs did not come to an end: nothing about what nobody measured."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from gengap._errors import GengapError
from gengap.report import Claim

from ._plan import AS_GIVEN, RANDOM, TRUE

Make = Callable[[pd.DataFrame], Claim | None]
DIVERGED = "diverged"


def check_ended(table: pd.DataFrame) -> None:
    """Require that a trial of an audit came to an end, if only to diverge.

    Raises:
        GengapError: None did; it names the first and its reason.
    """
    if not (ended(table) | (table["status"] == DIVERGED)).any():
        first = table.iloc[0]
        raise GengapError(
            f"No run came to an end: {first['data_set']}, seed {first['seed']} {first['status']}: "
            f"{first['reason']}"
        )


def levels_between(table: pd.DataFrame) -> list[str]:
    """Return the names of the data sets of which some labels are redrawn, but not all."""
    return list(table.loc[table["level"].between(0, 1, inclusive="neither"), "data_set"].unique())


def judged(table: pd.DataFrame, names: Sequence[str], make: Make) -> Claim | None:
    """Return the claim of the seeds of which every run on the data sets `names` came to an end.

    Where there is no such seed, the claim is inconclusive and says why. It says how many runs
    diverged: their seeds are left out.
    """
    rows = table[table["data_set"].isin(names)]
    there = ended(rows)
    whole = there.groupby(rows["seed"]).all()
    claim = make(table[table["seed"].isin(whole.index[whole])] if whole.any() else table)
    if claim is None:
        return None
    if not whole.any():
        claim = replace(claim, sentence=_sentence(rows, there), verdict="inconclusive", ours="")
    return replace(claim, sentence=claim.sentence + _diverged(rows))


def judged_too(claims: Sequence[Claim], table: pd.DataFrame) -> list[Claim]:
    """Return claims that were made of more than `results`, but of runs that ended only."""
    given = table[table["variant"] == AS_GIVEN]
    needed = {
        "bounds from weights are vacuous": [TRUE],
        "the VC bound is vacuous": [TRUE],
        "norm bounds are vacuous": [TRUE],
        "true labels cohere": [TRUE, RANDOM],
        "clean labels cohere more": levels_between(given),
        "the network against its kernel twin": [TRUE],
    }
    found = [
        judged(given, needed[claim.name], lambda _, claim=claim: claim)  # type: ignore[misc]
        if claim.name in needed
        else claim
        for claim in claims
    ]
    return [claim for claim in found if claim is not None]


def ended(table: pd.DataFrame) -> pd.Series:
    """Return which trials came to an end, of which alone there are accuracies."""
    return table["train_accuracy"].notna()


def _diverged(rows: pd.DataFrame) -> str:
    """Say how many of these runs diverged, if any did."""
    count = int((rows["status"] == DIVERGED).sum()) if "status" in rows else 0
    whose = "its seed is" if count == 1 else "their seeds are"
    return f" {count} of {len(rows)} runs diverged; {whose} left out." if count else ""


def _sentence(rows: pd.DataFrame, there: pd.Series) -> str:
    """Say of which runs none came to an end, or that no seed has them all."""
    runs = rows["data_set"].where(
        rows["variant"] == AS_GIVEN, rows["data_set"] + " " + rows["variant"]
    )
    some = there.groupby(runs, sort=False).any()
    never = list(some.index[~some])
    if never:
        return f"No run of {_listed(never, 'or')} came to an end."
    return f"No seed's runs of {_listed(list(some.index), 'and')} all came to an end."


def _listed(names: list[str], word: str) -> str:
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
