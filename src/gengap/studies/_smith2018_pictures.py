"""The tables and figures of Smith and Le (2018)."""

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, dots

from ._gather import ENDED, runs_text
from ._smith2018_trials import LABELS, SWEEPS

_PRECISION = Axis("precision", title="Prior precision λ", log=True)


def tables(evidence: pd.DataFrame, ends: pd.DataFrame, optima: pd.DataFrame) -> list[Table]:
    """Return all tables."""
    return [_evidence_table(evidence), _optimum_table(ends, optima)]


def _evidence_table(evidence: pd.DataFrame) -> Table:
    columns = {
        "log evidence ratio": "log_ratio",
        "log Occam factor": "log_occam_factor",
        "train loss": "train_loss",
        "test loss": "test_loss",
        "margin": "margin",
    }
    shares = {"train accuracy": "train_accuracy", "test accuracy": "test_accuracy"}
    lines = []
    for (labels, precision), part in evidence.groupby(["labels", "precision"], sort=False):
        lines.append({
            "labels": labels,
            "precision": precision,
            **{name: Measured.of(part[column].astype(float)) for name, column in columns.items()},
            **{name: Measured.of(100 * part[column]) for name, column in shares.items()},
        })
    return Table(
        name="evidence",
        title="Evidence of logistic regression over the prior",
        frame=pd.DataFrame(lines, columns=["labels", "precision", *columns, *shares]),
        formats={
            "precision": ".3g",
            "log evidence ratio": ".1f",
            "log Occam factor": ".1f",
            **dict.fromkeys(("train loss", "test loss", "margin"), ".3g"),
            **dict.fromkeys(shares, ".1f"),
        },
        caption="Mean over seeds ± standard deviation. The log evidence ratio is that of the "
        "model over the null model, in nats; below 0 the null model is preferred (the paper's E "
        "is its negative). Losses are means in nats, without penalty; the margin is the mean "
        "distance of training images from the boundary, in units of pixels; accuracies in percent.",
    )


def _optimum_table(ends: pd.DataFrame, optima: pd.DataFrame) -> Table:
    lines = []
    own = ends[ends["part"] == "sweep"]
    for (what, sweep), runs in own.groupby(["what", "sweep"], sort=False):
        part = optima[(optima["what"] == what) & (optima["sweep"] == sweep)]
        row = part.iloc[0] if len(part) else pd.Series(dtype=float)
        lines.append({
            "what changes": what,
            "sweep": sweep,
            "batch sizes": ", ".join(f"{size:.0f}" for size in sorted(set(runs["batch_size"]))),
            "optimum": row.get("optimum"),
            "standard error of its logarithm": row.get("standard_error"),
            "inside": row.get("interior"),
            "best test accuracy": 100 * row["accuracy"] if len(part) else None,
            "largest batch": 100 * row["largest"] if len(part) else None,
            "runs": runs_text(runs["status"]),
        })
    columns = ["what changes", "sweep", "batch sizes", "optimum"]
    columns += ["standard error of its logarithm", "inside", "best test accuracy"]
    columns += ["largest batch", "runs"]
    return Table(
        name="optimum",
        title="Optimum batch sizes",
        frame=pd.DataFrame(lines, columns=columns),
        formats={
            "optimum": ".3g",
            "standard error of its logarithm": ".2f",
            "best test accuracy": ".2f",
            "largest batch": ".2f",
        },
        caption="The optimum is the top of the parabola, in the logarithm of the batch size, by "
        "the highest mean test accuracy and its two neighbors; accuracies in percent, means over "
        "seeds, at the end of training; a run that diverged counts as chance.",
    )


def charts(evidence: pd.DataFrame, ends: pd.DataFrame, optima: pd.DataFrame) -> list[Chart]:
    """Return the figures for which there are runs, of sweeps from two on."""
    return [*_evidence_charts(evidence), *_sweep_charts(ends), *_optimum_charts(optima)]


def _evidence_charts(evidence: pd.DataFrame) -> list[Chart]:
    if not len(evidence):
        return []
    names = [f"{labels} labels" for labels in LABELS]
    frame = evidence.assign(group=evidence["labels"] + " labels")
    frame["log_ratio"] = frame["log_ratio"].astype(float)
    drawn = {
        "evidence-ratio": Axis("log_ratio", title="Log evidence ratio (nats)"),
        "evidence-train-accuracy": Axis("train_accuracy", title="Train accuracy", percent=True),
        "evidence-test-accuracy": Axis("test_accuracy", title="Test accuracy", percent=True),
        "evidence-train-loss": Axis("train_loss", title="Train cross entropy (nats)", log=True),
        "evidence-test-loss": Axis("test_loss", title="Test cross entropy (nats)", log=True),
    }
    titles = {
        "evidence-ratio": "The evidence tells random labels apart",
        "evidence-train-accuracy": "A weak prior lets the model fit any labels",
        "evidence-test-accuracy": "Only informative labels can be predicted",
        "evidence-train-loss": "The train cross entropy falls with a weaker prior on any labels",
        "evidence-test-loss": "Test cross entropy over the prior",
    }
    return [
        curves(
            frame,
            x=_PRECISION,
            y=axis,
            group="group",
            groups=names,
            name=name,
            title=titles[name],
            caption="Logistic regression on zeros and ones; mean and range over seeds.",
            rules={"null model": 0.0} if name == "evidence-ratio" else None,
        )
        for name, axis in drawn.items()
    ]


def _sweep_charts(ends: pd.DataFrame) -> list[Chart]:
    own = ends[(ends["part"] == "sweep") & ends["status"].isin(ENDED)]
    return [
        curves(
            part,
            x=Axis("batch_size", title="Batch size", log=True),
            y=Axis("test_accuracy", title="Test accuracy", percent=True, domain=_shown(part)),
            group="sweep",
            name=f"sweep-{_file(what)}",
            title=f"Test accuracy against batch size, by {what}",
            caption="Mean and range over seeds at the end of training, after the same number of "
            "updates. What lies more than 12 points below the best is drawn at the lower edge.",
        )
        for what in SWEEPS
        if (part := own[own["what"] == what])["sweep"].nunique() > 1
    ]


def _shown(part: pd.DataFrame) -> tuple[float, float]:
    """Return the range of accuracies worth seeing."""
    best = float(part["test_accuracy"].max())
    return max(0.0, best - 0.12), min(1.0, best + 0.005)


def _optimum_charts(optima: pd.DataFrame) -> list[Chart]:
    return [
        dots(
            part.assign(group=part["interior"].map({True: "inside", False: "end of the sweep"})),
            x=Axis("value", title=what[:1].upper() + what[1:], log=True),
            y=Axis("optimum", title="Optimum batch size", log=True),
            group="group",
            groups=["inside", "end of the sweep"],
            name=f"optimum-{_file(what)}",
            title=f"Optimum batch size against {what}",
            caption="Where the optimum is the end of a sweep, it may lie beyond.",
            error=None,
        )
        for what in SWEEPS
        if len(part := optima[optima["what"] == what]) > 1
    ]


def _file(what: str) -> str:
    return {"learning rate": "learning-rate", "examples": "examples"}.get(what, "momentum")
