"""The claims of Sokolic et al. (2016), each with its rule, written before the trials."""

from collections.abc import Callable

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._judging import JUDGED, each, points, pooled, values
from ._sokolic2016_trials import FULL, PLAIN, Plan, kernel_name


def claims(ends: pd.DataFrame, complexities: pd.DataFrame, plan: Plan) -> list[Claim]:
    """Return the claims, from the trials and what was measured."""
    table = complexities.pivot_table(index="seed", columns="network", values="value", sort=False)
    limits = complexities.pivot_table(index="seed", columns="network", values="bound", sort=False)
    return [
        _lower(table, plan),
        _smaller(table, plan, "trained complexity"),
        _smaller(limits, plan, "bound on the complexity"),
        _below(complexities),
        _learns(ends),
        *_penalty(ends, plan),
    ]


def _row(table: pd.DataFrame) -> str:
    return ", ".join(f"{name} {Measured.of(table[name]):.3f}" for name in table.columns) or "–"


def _lower(table: pd.DataFrame, plan: Plan) -> Claim:
    names = [kernel_name(side) for side in plan.kernels]
    known = {FULL, *names} <= set(table.columns)
    holds = [bool((row[names] < row[FULL]).all()) for _, row in table.iterrows()] if known else []
    return Claim(
        name="convolutions have the lower complexity",
        sentence=f"Trained on random signs, with weights of norm 1 a layer: {_row(table)}.",
        rule=f"Every convolution's is below that of full connections {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="easier to control (abstract)",
    )


def _smaller(table: pd.DataFrame, plan: Plan, what: str) -> Claim:
    names = [kernel_name(side) for side in plan.kernels]
    known = set(names) <= set(table.columns)
    holds = [bool(row[names].is_monotonic_increasing) for _, row in table.iterrows()]
    return Claim(
        name=f"small kernels, small {what}",
        sentence=f"By kernel: {_row(table[names]) if known else '–'}.",
        rule=f"It rises from every kernel to the next larger {EVERY_SEED}.",
        verdict=verdict(holds if known else []),
        paper="small kernels justified (abstract)",
    )


def _below(complexities: pd.DataFrame) -> Claim:
    share = (complexities["value"] / complexities["bound"]).astype(float)
    by_seed = share.groupby(complexities["seed"])
    value = f"{share.min():.2f} to {share.max():.2f}" if len(share) else "–"
    return Claim(
        name="bounds hold",
        sentence=f"What training reaches is {value} of the bound.",
        rule=f"At most 1 for every network {EVERY_SEED}.",
        verdict=verdict([bool((own <= 1).all()) for _, own in by_seed]),
        ours=value,
    )


def _learns(ends: pd.DataFrame) -> Claim:
    plain = ends[ends["penalty"] == PLAIN]
    found = {
        name: values(plain, "test_accuracy", network=name) for name in plain["network"].unique()
    }
    holds: list[bool] = []
    if len(found) == 2:
        full, conv = found[FULL], next(v for k, v in found.items() if k != FULL)
        holds = [bool(conv[seed] > full[seed]) for seed in conv.index.intersection(full.index)]
    return Claim(
        name="convolutions generalize better",
        sentence=f"Test accuracy when trained on the same examples: {each(found, _percent)}.",
        rule=f"Higher with a convolution than with full connections {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="a better generalization error (abstract)",
    )


def _percent(numbers: pd.Series) -> str:
    return f"{Measured.of(numbers):.1%}"


def _penalty(ends: pd.DataFrame, plan: Plan) -> list[Claim]:
    """Say what the penalty does to the coherence, and to the test accuracy."""
    asked: list[tuple[str, str, str, Callable[[float], bool], Callable[[pd.Series], str]]] = [
        ("the penalty lowers the coherence", "coherence", "lower", lambda d: d < 0,
         lambda d: f"{Measured.of(d):.3f}"),
        ("controlling coherence generalizes better", "test_accuracy", "higher", lambda d: d > 0,
         points),
    ]  # fmt: skip
    found = []
    for name, column, word, holds, write in asked:
        changes = {}
        for network in ends["network"].unique():
            own = ends[ends["network"] == network]
            plain = values(own, column, penalty=PLAIN)
            for strength in plan.strengths:
                change = (values(own, column, penalty=f"{strength:g}") - plain).dropna()
                changes[f"{network} at {strength:g}"] = change
        decided, said = pooled({k: [holds(x) for x in v] for k, v in changes.items()})
        found.append(
            Claim(
                name=name,
                sentence=f"Change of {column.replace('_', ' ')} with the penalty: "
                f"{each(changes, write)}.{said}",
                rule=f"{word.capitalize()} with the penalty than without at each strength, "
                f"{JUDGED}.",
                verdict=decided,
                paper="decreases the generalization error (abstract)" if word == "higher" else "",
            )
        )
    return found
