"""A table of all trials, kept beside them and rebuilt where it is stale."""

import contextlib
import functools
import io
import json
import warnings
from dataclasses import fields
from typing import Any

import pandas as pd

from gengap._errors import StoreError

from ._plain import canonical, corruption_text, is_own, own_text, revived
from ._store import Store, versions

_INDEX = "index.parquet"
_VERSION = f"1 {versions()['gengap']}"
_FIRST = ("trial", "status", "reason", "data", "model", "corruption", "probability", "seed")


def index(store: Store) -> pd.DataFrame:
    """Return one row a trial.

    The table is kept in the store with a stamp of every trial's result; only trials whose stamp
    has changed are read again.
    """
    old = _kept(store)
    known = dict(zip(old["trial"], old["stamp"], strict=True))
    stamps = {trial: _stamp(store, trial) for trial in store.trial_ids()}
    changed = [trial for trial, stamp in stamps.items() if known.get(trial) != stamp]
    if not changed and len(known) == len(stamps):
        return _shown(old)
    kept = old[old["trial"].isin(stamps.keys() - changed)]
    fresh = pd.DataFrame([{**_row(store, trial), "stamp": stamps[trial]} for trial in changed])
    parts = [part for part in (kept, fresh) if len(part)] or [old.iloc[:0]]
    with warnings.catch_warnings():  # of pandas 2: columns without a value lose their type one day
        warnings.simplefilter("ignore", FutureWarning)
        table = pd.concat(parts, ignore_index=True).sort_values("trial", ignore_index=True)
    _keep(store, table)
    return _shown(table)


def _stamp(store: Store, trial: str) -> str:
    """Return what changes when a trial's files do."""
    spec = store.files.stamp(f"trials/{trial}/trial.json")
    for name in ("result", "failure"):
        stamp = store.files.stamp(f"trials/{trial}/{name}.json")
        if stamp is not None:
            return f"{spec} {name} {stamp}"
    return str(spec)


def _row(store: Store, trial: str) -> dict[str, Any]:
    """Return a trial's specification and result as one flat row."""
    try:
        row = {"trial": trial, **described(store.spec(trial))}
        if store.is_complete(trial):
            result = store.result(trial)
            row |= {"status": result["status"], "reason": result["reason"]}
            row |= {name: value for name, value in result["final"].items()}
        elif failure := store.failure(trial):
            row |= {"status": "failed", "reason": failure}
        else:
            row |= {"status": "unfinished", "reason": "No result stands yet."}
    except (StoreError, KeyError, TypeError, ValueError) as error:
        return {"trial": trial, "status": "damaged", "reason": str(error)}
    return row


def described(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a specification as flat cells, every field of the recipe among them."""
    corruption = spec["corruption"] or {}
    return {
        "data": spec["data"]["name"],
        "examples": spec["data"].get("examples"),
        "model": spec["model"]["name"],
        "model.options": str(spec["model"].get("options", "")),
        "corruption": _corruption_text(canonical(spec["corruption"])),
        "probability": corruption.get("probability"),
        "seed": spec["seed"],
        **_recipe_cells(canonical(spec["recipe"])),
    }


@functools.lru_cache(maxsize=1024)  # thousands of trials share a few recipes
def _recipe_cells(text: str) -> dict[str, Any]:
    """Return the fields of a recipe; what is not a number or a word becomes text."""
    spec = json.loads(text)
    own = {name: own_text(value) for name, value in spec.items() if is_own(value)}
    recipe = revived({name: value for name, value in spec.items() if name not in own})
    values = {f.name: own.get(f.name, getattr(recipe, f.name)) for f in fields(recipe)}
    simple = (str, int, float, bool, type(None))
    return {f"recipe.{k}": v if isinstance(v, simple) else repr(v) for k, v in values.items()}


@functools.lru_cache(maxsize=1024)
def _corruption_text(text: str) -> str:
    spec = json.loads(text)
    return own_text(spec) if is_own(spec) else corruption_text(revived(spec))


def _kept(store: Store) -> pd.DataFrame:
    """Return the index as this version left it; an empty one where it is missing or damaged."""
    empty = pd.DataFrame(columns=[*_FIRST, "stamp"])
    if not store.files.exists(_INDEX):
        return empty
    try:
        kept = pd.read_parquet(io.BytesIO(store.files.read(_INDEX)))
    except Exception:  # whatever is wrong with the index, the trials can tell it again
        return empty
    ours = {"trial", "stamp", "version"} <= set(kept) and kept["version"].eq(_VERSION).all()
    return kept.drop(columns="version") if ours and kept["trial"].is_unique else empty


def _keep(store: Store, table: pd.DataFrame) -> None:
    """Write the index; a store that cannot be written is still read."""
    content = io.BytesIO()
    table.assign(version=_VERSION).to_parquet(content, index=False)
    with contextlib.suppress(StoreError):
        store.files.sweep("", age=60.0)
        store.files.write(_INDEX, content.getvalue())


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    columns = [c for c in _FIRST if c in table] + [c for c in table if c not in (*_FIRST, "stamp")]
    return table[columns].copy()
