"""The claims of Zielinski et al. (2020), each with its rule, written before the trials were run.

A rule is asked once a seed: a claim is supported when it holds in every seed that ended, of at
least two, not supported when it fails in every one, and inconclusive otherwise. What the medians
do is asked setting by setting, because it is not the same everywhere.
"""

from collections.abc import Callable

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim

from ._judging import each, percent, points, values
from ._zielinski2020_trials import CONTROL

LESS, HALF_AS_MUCH, ABOVE, EASIER = 0.10, 0.5, 0.01, 0.05


def claims(runs: pd.DataFrame, groups: pd.DataFrame) -> list[Claim]:
    """Return the claims, from `delays` and `groups`."""
    names = list(dict.fromkeys(runs["setting"])) if len(runs) else []
    found = [_memorizes_less(runs, name, rule) for rule in CONTROL for name in names]
    return [
        *found,
        *[_half_as_much(runs, name) for name in names],
        _best_is_no_better(runs, names),
        *[_easy(groups, source) for source in dict.fromkeys(groups["source"])],
        *[_coherent(groups, source) for source in dict.fromkeys(groups["source"])],
    ]


def _difference(runs: pd.DataFrame, setting: str, rules: tuple[str, str], column: str) -> pd.Series:
    one, other = (values(runs, column, setting=setting, rule=rule) for rule in rules)
    return (one - other).dropna()


def _memorizes_less(runs: pd.DataFrame, setting: str, rule: str) -> Claim:
    others = ("SGD", CONTROL[rule])
    less = [-_difference(runs, setting, (rule, other), "fitted") for other in others]
    least = pd.concat(less, axis=1).dropna().min(axis=1)
    told = each(
        {other: values(runs, "fitted", setting=setting, rule=other) for other in (*others, rule)},
        percent,
    )
    return Claim(
        name=f"{rule} memorizes less ({setting})",
        sentence=f"After equally many updates the share of corrupted labels fitted is: {told}.",
        rule=f"At the end at least {100 * LESS:g} points less than SGD and less than the control, "
        f"the mean of the same three gradients, by as much, {EVERY_SEED}.",
        verdict=verdict([bool(value >= LESS) for value in least]),
        paper="greatly reduced (ImageNet)",
        ours=f"at least {points(least)} below both",
    )


def _half_as_much(runs: pd.DataFrame, setting: str) -> Claim:
    fitted, pristine = (
        values(runs, c, setting=setting, rule="RM3") for c in ("fitted", "pristine")
    )
    sgd = values(runs, "fitted", setting=setting, rule="SGD")
    holds = [
        bool(fitted[seed] <= HALF_AS_MUCH * sgd[seed] and pristine[seed] >= 0.9)
        for seed in fitted.index.intersection(sgd.index)
    ]
    told = each({"RM3 corrupted": fitted, "pristine": pristine, "SGD corrupted": sgd}, percent)
    return Claim(
        name=f"RM3 ends with half as much memorized ({setting})",
        sentence=f"Share of labels fitted at the end: {told}.",
        rule="At the end RM3 fits at most half as large a share of the corrupted labels as SGD, "
        f"and at least 90% of the pristine ones, {EVERY_SEED}.",
        verdict=verdict(holds),
        ours=told,
    )


def _best_is_no_better(runs: pd.DataFrame, settings: list[str]) -> Claim:
    gains = {
        name: _difference(runs, name, ("RM3", "SGD"), "best_test_accuracy") for name in settings
    }
    gains = {name: gain for name, gain in gains.items() if len(gain)}
    worst = _lowest(gains, lambda part: part.max(axis=1))
    return Claim(
        name="stopped in time, SGD is as good as RM3",
        sentence="Best test accuracy on the way, RM3 less SGD: " + each(gains, points) + ".",
        rule=f"RM3's best test accuracy on the way is at most {100 * ABOVE:g} point above SGD's in "
        f"every setting, {EVERY_SEED}. It is ours, not the paper's.",
        verdict=verdict([bool(value <= ABOVE) for value in worst]),
        ours=each(gains, points),
    )


def _lowest(parts: dict[str, pd.Series], reduce: Callable[[pd.DataFrame], pd.Series]) -> pd.Series:
    if not parts:
        return pd.Series(dtype=float)
    return reduce(pd.concat(parts.values(), axis=1).dropna())


def _within(groups: pd.DataFrame, source: str, column: str) -> dict[str, pd.Series]:
    own = groups[(groups["source"] == source) & (groups["trained"] == groups["tested"])]
    return {
        str(name): part.set_index("seed")[column].astype(float)
        for name, part in own.groupby("trained", sort=False)
    }


def _easy(groups: pd.DataFrame, source: str) -> Claim:
    found = _within(groups, source, "accuracy")
    both = pd.DataFrame(found).dropna()
    gain = both["easy"] - both["hard"] if {"easy", "hard"} <= set(both) else pd.Series(dtype=float)
    return Claim(
        name=f"easy generalizes to easy better than hard to hard ({source})",
        sentence=f"Accuracy on held-out examples of the own group: {each(found, percent)}.",
        rule=f"At least {100 * EASIER:g} points higher for easy, groups of equal sizes and equal "
        f"classes, {EVERY_SEED}.",
        verdict=verdict([bool(value >= EASIER) for value in gain]),
        paper="far better (ImageNet)",
        ours=each(found, percent),
    )


def _coherent(groups: pd.DataFrame, source: str) -> Claim:
    found = _within(groups, source, "early_alpha")
    both = pd.DataFrame(found).dropna()
    told = each(found, lambda some: f"{some.mean():.3f}")
    holds = both["easy"] > both["hard"] if {"easy", "hard"} <= set(both) else pd.Series(dtype=bool)
    return Claim(
        name=f"easy examples cohere ({source})",
        sentence=f"Coherence α of a sample of the group, over steps 1 to 25: {told}.",
        rule=f"Larger for easy, {EVERY_SEED}.",
        verdict=verdict([bool(value) for value in holds]),
        ours=told,
    )
