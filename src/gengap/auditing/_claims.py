"""The sentences that an audit's numbers support, each with its rule.

A rule looks at every seed whose runs came to an end: "supported" and "not supported" need all
of them to agree, anything else is "inconclusive". One seed alone is never more than inconclusive,
nor is one in which nothing was learned that the rule could be asked of.
"""

import math
from collections.abc import Sequence
from functools import partial

import pandas as pd

from gengap.report import Claim, Measured
from gengap.training import Recipe

from ._ended import judged, levels_between
from ._plan import AS_GIVEN, BARE, RANDOM, TRUE
from ._results import FITTED
from ._verdict import EVERY_SEED, verdict

_LEARNED = 0.05
"""Test accuracy above that after random labels from which a network counts as having learned."""


def claims(
    table: pd.DataFrame, history: pd.DataFrame, recipe: Recipe, *, num_classes: int
) -> list[Claim]:
    """Return the claims of an audit, from `results`."""
    given = table[table["variant"] == AS_GIVEN]
    own = history[history["variant"] == AS_GIVEN] if len(history) else history
    between = levels_between(given)
    shuffled, *noise = given.loc[given["level"].isna(), "data_set"].unique()
    found = [
        judged(given, [RANDOM], _fits_random_labels),
        judged(given, [RANDOM], partial(_capacity_is_vacuous, num_classes=num_classes)),
        judged(given, [TRUE, RANDOM], _gap_is_not_the_networks),
        judged(given, [TRUE, RANDOM], _slower),
        judged(given, [TRUE, *between, RANDOM], _gap_grows),
        judged(given, [RANDOM, *noise], partial(_inputs_before_labels, noise=noise)),
        judged(given, [TRUE, RANDOM, shuffled], partial(_uses_order, shuffled=shuffled)),
        judged(given, between, partial(_clean_first, history=own)) if between else None,
        *_regularizers(table, recipe),
    ]
    return [claim for claim in found if claim is not None]


def rademacher_bound(accuracy: float, num_classes: int) -> float:
    r"""Return a lower bound on the empirical Rademacher complexity from fitting random labels.

    Merge the classes into two halves of $\lfloor c/2 \rfloor$: uniform labels become uniform
    signs on a share $2 \lfloor c/2 \rfloor / c$ of the examples, and the merged network, a
    function to $\{-1, 1\}$, errs on them at most as often as the network errs on all. So
    $\hat R \ge 1 - 2 (1 - a) c / (2 \lfloor c/2 \rfloor)$ on those examples, for accuracy $a$.
    At most 1, which is the largest that functions to $\{-1, 1\}$ can have, and at least 0, the
    least that any have.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 2.2; the merging is ours.
    """
    return max(0.0, 1 - 2 * (1 - accuracy) * num_classes / (2 * (num_classes // 2)))


def _by_seed(table: pd.DataFrame, data_set: str, column: str) -> pd.Series:
    rows = table[table["data_set"] == data_set]
    return rows.set_index("seed")[column]


def _percent(values: pd.Series) -> str:
    return f"{Measured.of(values):.1%}"


def _fits_random_labels(table: pd.DataFrame) -> Claim:
    train = _by_seed(table, RANDOM, "train_accuracy")
    holds = [bool(value >= FITTED) for value in train]
    decided = verdict(holds)
    said = {
        "supported": "The network fits random labels",
        "not supported": "The network does not fit random labels under this recipe",
        "inconclusive": "Whether the network fits random labels is open",
    }[decided]
    return Claim(
        name="fits random labels",
        sentence=f"{said}: {_percent(train)} of {len(train)} seeds' random training labels are "
        f"right, at a test accuracy of {_percent(_by_seed(table, RANDOM, 'test_accuracy'))}.",
        rule=f"Train accuracy on random labels at least {FITTED:.0%} {EVERY_SEED}.",
        verdict=decided,
        paper="100 %, 99.82 to 100 %, 99.34 to 100 % (Inception, Alexnet, MLPs on CIFAR-10)",
        ours=_percent(train),
    )


def _capacity_is_vacuous(table: pd.DataFrame, num_classes: int) -> Claim:
    bounds = _by_seed(table, RANDOM, "train_accuracy").map(
        lambda accuracy: rademacher_bound(accuracy, num_classes)
    )
    decided = verdict([True if bound >= 0.9 else None for bound in bounds])
    tail = (
        "a bound on the gap from it, or from anything else that ignores the labels, says nothing "
        "about this network on these examples"
        if decided == "supported"
        else "too little to tell whether bounds from it are vacuous"
    )
    value = f"{Measured.of(bounds):.3f}"
    return Claim(
        name="capacity is vacuous",
        sentence=f"Its empirical Rademacher complexity is at least {value} of at most 1: {tail}.",
        rule="Lower bound from fitting random labels, classes merged into two halves, at least "
        f"0.9 {EVERY_SEED}; a smaller one leaves it open.",
        verdict=decided,
        paper="about 1",
        ours=value,
    )


def _gap_is_not_the_networks(table: pd.DataFrame) -> Claim:
    true, random = (_by_seed(table, name, "gap") for name in (TRUE, RANDOM))
    both_fit = [
        bool(_by_seed(table, name, "train_accuracy")[seed] >= FITTED)
        for seed in true.index
        for name in (TRUE, RANDOM)
    ]
    holds = [bool(random[seed] > true[seed]) for seed in true.index]
    decided = verdict([hold if all(both_fit) else None for hold in holds])
    tail = {
        "supported": ": size, architecture and recipe alone do not determine it",
        "not supported": "",
        "inconclusive": "" if all(both_fit) else "; not both are fitted in every seed",
    }[decided]
    return Claim(
        name="the labels decide the gap",
        sentence=f"The same network and recipe have a gap of {_percent(true)} on true labels and "
        f"of {_percent(random)} on random ones{tail}.",
        rule=f"Both are fitted, and the gap on random labels is the larger, {EVERY_SEED}.",
        verdict=decided,
        ours=f"{_percent(true)} and {_percent(random)}",
    )


def _slower(table: pd.DataFrame) -> Claim:
    times = _by_seed(table, RANDOM, "steps_to_fit") / _by_seed(table, TRUE, "steps_to_fit")
    known = times.dropna()
    decided = verdict([bool(value > 1) for value in known])
    value = f"{Measured.of(times):.2f}"
    said = (
        f"Random labels take {value} times the steps that true labels take to be fitted."
        if len(known)
        else "Random labels, or true ones, are not fitted, so their speeds cannot be compared."
    )
    return Claim(
        name="random labels are slower",
        sentence=said,
        rule="Steps to a train accuracy of 99 % on random labels over those on true labels above "
        f"1 {EVERY_SEED}.",
        verdict=decided,
        paper="1.5 to 3.5",
        ours=value,
    )


def _gap_grows(table: pd.DataFrame) -> Claim | None:
    levels = _changed(table[table["level"].notna()]).sort_values("level")
    if levels["level"].nunique() < 3:
        return None
    holds = []
    for _, rows in levels.groupby("seed"):
        falls = rows["test_accuracy"].diff().dropna() < 0
        holds.append(bool(falls.all()) and bool(rows["test_accuracy"].notna().all()))
    errors = 1 - levels.groupby("level")["test_accuracy"].mean()
    path = ", ".join(f"{error:.1%}" for error in errors)
    return Claim(
        name="the test error grows with corruption",
        sentence=f"As more labels are redrawn (p = {', '.join(f'{p:g}' for p in errors.index)}), "
        f"the test error is {path}.",
        rule="Test accuracy falls from every level at which a label was changed to the next "
        f"{EVERY_SEED}.",
        verdict=verdict(holds),
        paper="rises steadily to 90 %",
        ours=path,
    )


def _changed(levels: pd.DataFrame) -> pd.DataFrame:
    """Leave out runs at a level at which no label came out changed: these have the true ones."""
    if "corrupted_accuracy" not in levels:
        return levels
    same = levels["corrupted_accuracy"].isna() & levels["train_accuracy"].notna()
    return levels[(levels["level"] == 0) | ~same]


def _inputs_before_labels(table: pd.DataFrame, noise: Sequence[str]) -> Claim:
    labels = _by_seed(table, RANDOM, "steps_to_fit")
    inputs = {name: _by_seed(table, name, "steps_to_fit") for name in noise}
    # What is never fitted counts as fitted last; where nothing is, there is nothing to compare.
    holds = [
        all(bool(steps[seed] < _late(labels[seed])) for steps in inputs.values())
        for seed in labels.index
        if not all(math.isnan(steps[seed]) for steps in (labels, *inputs.values()))
    ]
    if labels.notna().any():
        times = {name: f"{Measured.of(steps / labels):.2f}" for name, steps in inputs.items()}
        said = " and ".join(f"{name} {time}" for name, time in times.items())
        sentence = f"In units of the steps that random labels take, {said} are needed."
    else:
        said = ", ".join(f"{name} {_steps(steps)}" for name, steps in inputs.items())
        sentence = f"Random labels are never fitted, {said}."
    return Claim(
        name="random inputs fit before random labels",
        sentence=sentence,
        rule=f"With true labels, {' and '.join(noise)} are fitted in fewer steps than random "
        f"labels {EVERY_SEED}.",
        verdict=verdict(holds),
        paper="start to converge earlier",
        ours=said,
    )


def _late(steps: float) -> float:
    return math.inf if math.isnan(steps) else steps


def _steps(steps: pd.Series) -> str:
    return f"in {Measured.of(steps):.0f} steps" if steps.notna().any() else "never"


def _uses_order(table: pd.DataFrame, shuffled: str) -> Claim:
    true, guessed = (_by_seed(table, name, "test_accuracy") for name in (TRUE, RANDOM))
    lost = true - _by_seed(table, shuffled, "test_accuracy")
    value = Measured.of(100 * lost)
    learned = true - guessed > _LEARNED
    decided = verdict([bool(lost[s] > 0.01) if learned[s] else None for s in lost.index])
    said = {
        "supported": "The network uses the order of the inputs",
        "not supported": "The network does not use the order of the inputs",
        "inconclusive": "Whether the network uses the order of the inputs is open",
    }[decided]
    return Claim(
        name="uses the order of the inputs",
        sentence=f"{said}: one fixed shuffle of them costs {value:.1f} points of test accuracy.",
        rule=f"One fixed shuffle of the {shuffled.split()[-1]} costs more than 1 point of "
        f"test accuracy {EVERY_SEED}, which on true labels is {100 * _LEARNED:.0f} points above "
        "that after random ones; else it is open.",
        verdict=decided,
        ours=f"{value:.1f} points",
    )


def _clean_first(table: pd.DataFrame, history: pd.DataFrame) -> Claim:
    names = levels_between(table)
    levels = history[history["data_set"].isin(names) & history["seed"].isin(table["seed"])]
    holds: list[bool | None] = []
    clean, corrupted = [], []
    for _, rows in levels.groupby("seed"):
        orders = []
        for _, run in rows.groupby("level"):
            if run[["clean_accuracy", "corrupted_accuracy"]].isna().all().any():
                continue  # no label was changed, or none was left
            clean.append(_late(_first(run, "clean_accuracy")))
            corrupted.append(_late(_first(run, "corrupted_accuracy")))
            never = math.isinf(clean[-1]) and math.isinf(corrupted[-1])
            orders.append(None if never else clean[-1] < corrupted[-1])
        holds.append(False if False in orders else True if orders and all(orders) else None)
    ratios = [b / a for a, b in zip(clean, corrupted, strict=True) if math.isfinite(a)]
    known = [ratio for ratio in ratios if math.isfinite(ratio)]
    value = f"{Measured.of(known):.1f}"
    if known:
        said = f"after {value} times the steps that half of the clean ones take"
    else:
        said = "never, half of the clean ones " + ("earlier" if ratios else "neither")
    none = "No level of corruption has clean and corrupted labels."
    return Claim(
        name="clean labels are learned first",
        sentence=f"Half of the corrupted labels are fitted {said}." if clean else none,
        rule="At every level of corruption at which a label was changed, half of the clean "
        "training labels are right at an earlier evaluation than half of the corrupted ones, "
        f"{EVERY_SEED}; where neither ever are, it is open.",
        verdict=verdict(holds),
        ours=f"{value} times" if known else "never" if clean else "",
    )


def _first(run: pd.DataFrame, column: str) -> float:
    """Return the first step after training began at which half of the labels are right."""
    reached = run[(run[column] >= 0.5) & (run["step"] > 0)]
    return float(reached.iloc[0]["step"]) if len(reached) else math.nan


def _regularizers(table: pd.DataFrame, recipe: Recipe) -> list[Claim | None]:
    if not recipe.regularizer_names:
        return []
    used = ", ".join(recipe.regularizer_names)
    return [
        judged(table, [TRUE], partial(_regularizers_help, used=used)),
        judged(table, [RANDOM], partial(_regularizers_prevent, used=used)),
    ]


def _regularizers_help(table: pd.DataFrame, used: str) -> Claim:
    given, bare = (table[table["variant"] == variant] for variant in (AS_GIVEN, BARE))
    gain = _by_seed(given, TRUE, "test_accuracy") - _by_seed(bare, TRUE, "test_accuracy")
    value = Measured.of(100 * gain)
    without = _percent(_by_seed(bare, TRUE, "test_accuracy"))
    return Claim(
        name="regularizers help",
        sentence=f"Without its regularizers ({used}) the recipe reaches {without} on the test "
        f"half; with them {value:.1f} points more.",
        rule=f"Test accuracy on true labels is higher with them than without {EVERY_SEED}.",
        verdict=verdict([bool(points > 0) for points in gain]),
        paper="a few points",
        ours=f"{value:.1f} points",
    )


def _regularizers_prevent(table: pd.DataFrame, used: str) -> Claim:
    given, bare = (table[table["variant"] == variant] for variant in (AS_GIVEN, BARE))
    train, without = (_by_seed(rows, RANDOM, "train_accuracy") for rows in (given, bare))
    holds = [
        False if train[s] >= FITTED else True if without[s] >= FITTED else None for s in train.index
    ]
    return Claim(
        name="regularizers prevent memorization",
        sentence=f"With {used}, {_percent(train)} of random training labels are fitted; "
        f"without, {_percent(without)}.",
        rule=f"Train accuracy on random labels stays below {FITTED:.0%} with them, and reaches it "
        f"without, {EVERY_SEED}; below it both ways, it is open.",
        verdict=verdict(holds),
        paper="no, but for Alexnet with weight decay",
        ours=_percent(train),
    )
