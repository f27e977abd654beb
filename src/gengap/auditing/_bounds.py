"""What bounds from size, norms and margins say of the audited network, and what they do not."""

from collections.abc import Sequence

import pandas as pd

from gengap._errors import StoreError
from gengap.capacity import Bound, capacity_bounds
from gengap.lab import Lab
from gengap.report import Claim, Measured

from ._plan import AS_GIVEN, RANDOM, TRUE, Planned
from ._verdict import EVERY_SEED, verdict

_NAMES = {
    "frobenius": "Frobenius norms",
    "golowich": "Frobenius norms with the root of the depth",
    "patch": "patches of convolutions",
    "path": "paths",
    "spectral": "spectral norms",
}
COLUMNS = ("data_set", "seed", "bound", "value", "complexity", "vacuous", "sentence", "note")


def bounds(lab: Lab, planned: Sequence[Planned]) -> tuple[pd.DataFrame, str]:
    """Return the bounds of the networks trained on true and on random labels, a row each.

    Returns:
        The rows, and why there are none, or nothing.
    """
    rows, reason = [], ""
    for item in planned:
        if item.variant != AS_GIVEN or item.data_set.name not in (TRUE, RANDOM):
            continue
        try:
            found = capacity_bounds(lab.model(item.trial), item.trial.splits()[0])
        except (StoreError, ValueError) as error:
            reason = str(error)
            continue
        rows += [_row(bound, item.data_set.name, item.trial.seed) for bound in found]
    return pd.DataFrame(rows, columns=list(COLUMNS)), reason


def _row(bound: Bound, data_set: str, seed: int) -> dict[str, object]:
    return {
        "data_set": data_set,
        "seed": seed,
        "bound": bound.name,
        "value": bound.value,
        "complexity": bound.complexity,
        "vacuous": bound.vacuous,
        "sentence": bound.sentence,
        "note": bound.note,
    }


def bound_claims(found: pd.DataFrame, reason: str) -> list[Claim]:
    """Return a claim on size and one on norms, from `bounds`."""
    own = found[found["data_set"] == TRUE]
    if not len(own):
        said = reason or "No network on true labels was trained to the end."
        return [
            Claim(
                name="bounds from weights are vacuous",
                sentence=f"No bound from norms or size was computed: {said}",
                rule=f"Every bound on true labels is at least 1 {EVERY_SEED}.",
                verdict="inconclusive",
            )
        ]
    norms = own[own["bound"] != "VC"]
    return [_size(own[own["bound"] == "VC"]), *([_norms(norms)] if len(norms) else [])]


def _size(own: pd.DataFrame) -> Claim:
    decided = verdict([bool(value) for value in own["vacuous"]])
    dimension = f"{own['complexity'].iloc[0]:.3g}"
    tail = {
        "supported": "it is vacuous",
        "not supported": "it is not vacuous",
        "inconclusive": "of one seed only, or of seeds that disagree",
    }[decided]
    return Claim(
        name="the VC bound is vacuous",
        sentence=f"Networks of this shape have a VC dimension of at most {dimension}: "
        f"{own['note'].iloc[0].split('; ')[-1]} examples. The bound on the gap from it: {tail}.",
        rule=f"The bound is at least 1, or the dimension at least the examples, {EVERY_SEED}.",
        verdict=decided,
        ours=dimension,
    )


def _norms(own: pd.DataFrame) -> Claim:
    """Say of each bound what it is, over seeds, and whether all are vacuous."""
    told = [
        f"from {_NAMES.get(str(name), str(name))} {Measured.of(rows['value']):.3g}"
        f" ({'vacuous' if rows['vacuous'].all() else 'not vacuous'})"
        for name, rows in own.groupby("bound", sort=False)
    ]
    holds = [bool(rows["vacuous"].all()) for _, rows in own.groupby("seed")]
    decided = verdict(holds)
    head = {
        "supported": "Every bound on the gap from norms and margins is vacuous, above the largest "
        "gap of 1",
        "not supported": "A bound on the gap from norms and margins says something",
        "inconclusive": "Bounds on the gap from norms and margins",
    }[decided]
    return Claim(
        name="norm bounds are vacuous",
        sentence=f"{head}: {', '.join(told)}, on true labels.",
        rule=f"Each is at least 1, with the margin that makes it least, {EVERY_SEED}.",
        verdict=decided,
        ours=f"{own['value'].min():.3g} at the least",
    )
