"""What an audit says where runs did not come to an end: nothing about what nobody measured."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from gengap._errors import GengapError
from gengap.report import Claim

from ._plan import AS_GIVEN, RANDOM, TRUE

Make = Callable[[pd.DataFrame], Claim | None]


def check_ended(table: pd.DataFrame) -> None:
    """Require that a trial of an audit came to an end.

    Raises:
        GengapError: None did; it names the first and its reason.
    """
    if not _ended(table).any():
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

    Where there is no such seed, the claim is inconclusive and says why.
    """
    rows = table[table["data_set"].isin(names)]
    ended = _ended(rows)
    whole = ended.groupby(rows["seed"]).all()
    if whole.any():
        return make(table[table["seed"].isin(whole.index[whole])])
    claim = make(table)
    if claim is None:
        return None
    return replace(claim, sentence=_sentence(rows, ended), verdict="inconclusive", ours="")


def judged_too(claims: Sequence[Claim], table: pd.DataFrame) -> list[Claim]:
    """Return claims that were made of more than `results`, but of runs that ended only."""
    given = table[table["variant"] == AS_GIVEN]
    needed = {
        "bounds from weights are vacuous": [TRUE],
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


def _ended(table: pd.DataFrame) -> pd.Series:
    """Return which trials came to an end, of which alone there are accuracies."""
    return table["train_accuracy"].notna()


def _sentence(rows: pd.DataFrame, ended: pd.Series) -> str:
    """Say of which runs none came to an end, or that no seed has them all."""
    runs = rows["data_set"].where(
        rows["variant"] == AS_GIVEN, rows["data_set"] + " " + rows["variant"]
    )
    some = ended.groupby(runs, sort=False).any()
    never = list(some.index[~some])
    if never:
        return f"No run of {_listed(never, 'or')} came to an end."
    return f"No seed's runs of {_listed(list(some.index), 'and')} all came to an end."


def _listed(names: list[str], word: str) -> str:
    return f" {word} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
