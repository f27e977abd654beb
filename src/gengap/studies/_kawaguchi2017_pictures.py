"""The tables and figures of Kawaguchi et al. (2017)."""

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, dots

from ._gather import runs_text
from ._judging import values
from ._kawaguchi2017_numbers import Numbers
from ._kawaguchi2017_trials import LABELS


def tables(ends: pd.DataFrame, numbers: Numbers) -> list[Table]:
    """Return all tables."""
    return [_darc1(ends), _terms(numbers.terms), _phases(numbers.phases)]


def charts(ends: pd.DataFrame, numbers: Numbers) -> list[Chart]:
    """Return the figures for which there are runs."""
    found = []
    ran = ends.dropna(subset=["test_accuracy"])
    if len(ran):
        named = ran.assign(
            darc1=[f"{value:g}" if value else "none" for value in ran["strength"]],
            error=1 - ran["test_accuracy"].astype(float),
        )
        found.append(
            dots(
                named,
                x=Axis("darc1", title="Strength of DARC1"),
                y=Axis("error", title="Test error", percent=True, log=True),
                group="labels",
                groups=list(LABELS),
                connect="group",
                name="darc1",
                title="DARC1",
                caption="Test error after the last epoch; mean and range over seeds.",
            )
        )
    if len(numbers.terms):
        long = numbers.terms.melt(
            id_vars=["level", "seed"],
            value_vars=["gap", "linear", "quadratic"],
            var_name="term",
            value_name="value",
        )
        found.append(
            curves(
                long.astype({"value": float}),
                x=Axis("level", title="Probability that a label is redrawn", percent=True),
                y=Axis("value", title="Squared distance"),
                group="term",
                name="terms",
                title="The gap and its terms in path coordinates",
                caption="Perceptrons trained with squared loss; mean and range over seeds. The two "
                "terms add up to the gap.",
            )
        )
    if len(numbers.phases):
        found.append(_phase_chart(numbers.phases))
    return found


def _phase_chart(phases: pd.DataFrame) -> Chart:
    long = phases.melt(
        id_vars=["share", "seed"],
        value_vars=["first", "second"],
        var_name="phase",
        value_name="accuracy",
    )
    return curves(
        long.assign(error=1 - long["accuracy"].astype(float)),
        x=Axis("share", title="Share of the examples that the pattern saw", percent=True),
        y=Axis("error", title="Test error", percent=True),
        group="phase",
        name="phases",
        title="Two-phase training",
        caption="After the first phase, and after the second, in which the weights alone are "
        "trained on the other examples; mean and range over seeds.",
    )


def _darc1(ends: pd.DataFrame) -> Table:
    lines = []
    for labels in LABELS:
        for strength in dict.fromkeys(ends["strength"]):
            own = ends[(ends["labels"] == labels) & (ends["strength"] == strength)]
            lines.append({
                "labels": labels,
                "DARC1": f"{strength:g}" if strength else "none",
                "train accuracy": Measured.of(100 * values(own, "train_accuracy")),
                "test accuracy": Measured.of(100 * values(own, "test_accuracy")),
                "test loss": Measured.of(values(own, "test_loss")),
                "runs": runs_text(own["status"]),
            })
    return Table(
        name="darc1",
        title="DARC1",
        frame=pd.DataFrame(lines),
        formats={"train accuracy": ".2f", "test accuracy": ".2f", "test loss": ".3f"},
        caption="Accuracies in percent, loss in nats; mean over seeds ± standard deviation.",
    )


def _terms(terms: pd.DataFrame) -> Table:
    shown = {"gap": ".3f", "linear": ".3f", "quadratic": ".3f", "cosine": ".1e", "bound": ".2g"}
    lines = []
    for level, own in terms.groupby("level"):
        line: dict[str, object] = {"redrawn": f"{level:.0%}"}
        line |= {name: Measured.of(own[name].astype(float)) for name in shown}
        lines.append({**line, "paths": f"{int(own['paths'].iloc[0]):,}"})
    return Table(
        name="terms",
        title="The gap of squared loss in path coordinates",
        frame=pd.DataFrame(lines, columns=["redrawn", *shown, "paths"]),
        formats=shown,
        caption="In squared distance; redrawn: probability that a training label is redrawn. "
        "Cosine: of v and the path weights. Bound: from the norms of v and the path weights "
        "and the largest eigenvalue of G, all measured with the test half.",
    )


def _phases(phases: pd.DataFrame) -> Table:
    lines = [
        {
            "share": f"{share:.0%}",
            "first phase": Measured.of(100 * own["first"].astype(float)),
            "second phase": Measured.of(100 * own["second"].astype(float)),
            "bound": Measured.of(own["bound"].astype(float)),
        }
        for share, own in phases.groupby("share")
    ]
    columns = ["share", "first phase", "second phase", "bound"]
    return Table(
        name="phases",
        title="Two-phase training",
        frame=pd.DataFrame(lines, columns=columns),
        formats={"first phase": ".2f", "second phase": ".2f", "bound": ".1e"},
        caption="Test accuracies in percent. Bound: on the gap of squared distance after the "
        "second phase, with probability 0.95; above 1 it is vacuous.",
    )
