"""A table of all trials, kept beside them and rebuilt where it is stale."""

import io
from dataclasses import fields
from typing import Any

import pandas as pd

from gengap._errors import StoreError
from gengap.training import Recipe

from ._plain import corruption_text, revived
from ._store import Store

_INDEX = "index.parquet"
_FIRST = ("trial", "status", "reason", "data", "model", "corruption", "probability", "seed")


def index(store: Store) -> pd.DataFrame:
    """Return one row a trial.

    The table is kept in the store with a stamp of every trial's result; only trials whose stamp
    has changed are read again.
    """
    old = _kept(store)
    known = {
        str(trial): stamp
        for trial, stamp in zip(old.get("trial", []), old.get("stamp", []), strict=True)
    }
    fresh, rows = [], []
    ids = store.trial_ids()
    for trial in ids:
        stamp = _stamp(store, trial)
        if known.get(trial) == stamp:
            fresh.append(trial)
        else:
            rows.append({**_row(store, trial), "stamp": stamp})
    if not rows and len(fresh) == len(old):
        return _shown(old)
    kept = old[old["trial"].isin(fresh)] if len(old) else old
    parts = [part for part in (kept, pd.DataFrame(rows)) if len(part)]
    table = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_FIRST, "stamp"])
    )
    table = table.sort_values("trial", ignore_index=True)
    _keep(store, table)
    return _shown(table)


def _stamp(store: Store, trial: str) -> str:
    for name in ("result", "failure", "trial"):
        stamp = store.files.stamp(f"trials/{trial}/{name}.json")
        if stamp is not None:
            return f"{name}-{stamp}"
    return "empty"


def _row(store: Store, trial: str) -> dict[str, Any]:
    """Return a trial's specification and result as one flat row."""
    try:
        spec = store.files.read_json(f"trials/{trial}/trial.json")
        row = _described(trial, spec)
        if store.is_complete(trial):
            result = store.result(trial)
            row |= {"status": result["status"], "reason": result["reason"]}
            row |= {name: value for name, value in result["final"].items()}
        elif store.files.exists(f"trials/{trial}/failure.json"):
            failure = store.files.read_json(f"trials/{trial}/failure.json")
            row |= {"status": "failed", "reason": failure["reason"]}
        else:
            row |= {"status": "unfinished", "reason": "No result stands yet."}
    except (StoreError, KeyError, TypeError, ValueError) as error:
        return {"trial": trial, "status": "damaged", "reason": str(error)}
    return row


def _described(trial: str, spec: dict[str, Any]) -> dict[str, Any]:
    corruption = spec["corruption"] or {}
    recipe = {f"recipe.{name}": cell for name, cell in _cells(revived(spec["recipe"])).items()}
    return {
        "trial": trial,
        "data": spec["data"]["name"],
        "examples": spec["data"].get("examples"),
        "model": spec["model"]["name"],
        "model.options": str(spec["model"].get("options", "")),
        "corruption": corruption_text(revived(spec["corruption"])),
        "probability": corruption.get("probability"),
        "seed": spec["seed"],
        **recipe,
    }


def _cells(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe; what is not a number or a word becomes text."""
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    simple = (str, int, float, bool, type(None))
    return {name: v if isinstance(v, simple) else repr(v) for name, v in values.items()}


def _kept(store: Store) -> pd.DataFrame:
    """Return the index as it was left, or an empty one where it is missing or damaged."""
    if not store.files.exists(_INDEX):
        return pd.DataFrame()
    try:
        return pd.read_parquet(io.BytesIO(store.files.read(_INDEX)))
    except Exception:  # whatever is wrong with the index, the trials can tell it again
        return pd.DataFrame()


def _keep(store: Store, table: pd.DataFrame) -> None:
    """Write the index; a store that cannot be written is still read."""
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    try:
        store.files.write(_INDEX, content.getvalue())
    except StoreError:
        return


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    columns = [c for c in _FIRST if c in table] + [c for c in table if c not in (*_FIRST, "stamp")]
    return table[columns].copy()
