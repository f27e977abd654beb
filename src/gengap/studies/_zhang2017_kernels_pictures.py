"""The tables and figures of section 5 of Zhang et al. (2017)."""

from collections.abc import Sequence

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, dots

from ._zhang2017_kernels_numbers import Numbers
from ._zhang2017_kernels_scales import Interpolant

RIDGELESS, RIDGED = "ridgeless", "ridge by leave-one-out"


def tables(numbers: Numbers, asked: Sequence[Interpolant]) -> list[Table]:
    """Return all tables."""
    return [_fits(numbers.fits, asked), _norms(numbers.norms), _trend(numbers.trend)]


def _fits(fits: pd.DataFrame, asked: Sequence[Interpolant]) -> Table:
    paper = {one.name: one.paper for one in asked if one.paper is not None}
    lines = []
    for (name, level, ridge), rows in fits.groupby(["interpolant", "level", "ridge"], sort=False):
        known = level == 0 and ridge == 0 and name in paper
        lines.append({
            "kernel on": name,
            "redrawn": level,
            "ridge": ridge,
            "train error": Measured.of(100 * rows["train_error"].astype(float)),
            "left-out error": Measured.of(100 * rows["left_out_error"].astype(float)),
            "test error": Measured.of(100 * rows["test_error"].astype(float)),
            "paper": paper[str(name)] if known else float("nan"),
            "norm": Measured.of(rows["norm"].astype(float)),
        })
    columns = ["kernel on", "redrawn", "ridge", "train error", "left-out error", "test error"]
    return Table(
        name="interpolants",
        title="Gaussian kernels on true and redrawn labels",
        frame=pd.DataFrame(lines, columns=[*columns, "paper", "norm"]),
        formats={
            "redrawn": ".0%",
            "ridge": "g",
            **dict.fromkeys(("train error", "left-out error", "test error"), ".2f"),
            "paper": "g",
            "norm": ".1f",
        },
        caption="Errors in percent; paper: test error with all training examples. Left-out: each "
        "training example by the fit to the others, in closed form. Norm: of the function, in the "
        "kernel's space, over all classes. Mean over seeds ± standard deviation.",
    )


def _norms(norms: pd.DataFrame) -> Table:
    lines = [
        {
            "interpolant": kind,
            "examples": int(rows["examples"].iloc[0]),
            "train error": Measured.of(100 * rows["train_error"].astype(float)),
            "test error": Measured.of(100 * rows["test_error"].astype(float)),
            "norm": Measured.of(rows["norm"].astype(float)),
        }
        for kind, rows in norms.groupby("kind", sort=False)
    ]
    columns = ["interpolant", "examples", "train error", "test error", "norm"]
    return Table(
        name="norms",
        title="Interpolants that generalize and that do not",
        frame=pd.DataFrame(lines, columns=columns),
        formats={"examples": ",d", "train error": ".2f", "test error": ".2f", "norm": ".1f"},
        caption="The first two are fitted to the training examples and some test points, the "
        "first with the true labels of both, the second with random labels on the test points; "
        "the test error is on these. The other two are fitted to a few training examples. Errors "
        "in percent.",
    )


def _chosen(trend: pd.DataFrame) -> pd.DataFrame:
    """Return the trend ridgeless and at the ridge of least leave-one-out error."""
    plain = trend[trend["ridge"] == 0].assign(fit=RIDGELESS)
    best = trend.groupby(["seed", "count"])["left_out_error"].idxmin()
    return pd.concat([plain, trend.loc[best].assign(fit=RIDGED)], ignore_index=True)


def _trend(trend: pd.DataFrame) -> Table:
    lines = []
    for count, rows in _chosen(trend).groupby("count"):
        line: dict[str, object] = {
            "filters": int(str(count)),
            "features": int(rows["features"].iloc[0]),
        }
        for fit, own in rows.groupby("fit", sort=False):
            line[f"test error, {fit}"] = Measured.of(100 * own["test_error"].astype(float))
            line[f"norm, {fit}"] = Measured.of(own["norm"].astype(float))
        lines.append(line)
    columns = [f"{what}, {fit}" for fit in (RIDGELESS, RIDGED) for what in ("test error", "norm")]
    return Table(
        name="filters",
        title="Random convolutions",
        frame=pd.DataFrame(lines, columns=["filters", "features", *columns]),
        formats={
            "filters": ",d",
            "features": ",d",
            **{column: ".2f" if column.startswith("test") else ".3g" for column in columns},
        },
        caption="A linear model on the pooled activations of filters that are whitened patches of "
        "the training images. Errors in percent.",
    )


def charts(numbers: Numbers, asked: Sequence[Interpolant]) -> list[Chart]:
    """Return the figures for which there are numbers."""
    names = [one.name for one in asked]
    plain = numbers.fits[numbers.fits["ridge"] == 0]
    found = []
    if len(plain):
        level = Axis("level", title="Probability with which a label is redrawn", percent=True)
        for column, title, percent in (
            ("test_error", "Test error", True),
            ("norm", "Norm of the interpolant", False),
        ):
            found.append(
                dots(
                    plain,
                    x=level,
                    y=Axis(column, title=title, percent=percent, log=not percent),
                    group="interpolant",
                    groups=names,
                    connect="group",
                    name=column.replace("_", "-"),
                    title=f"{title} against corruption",
                    caption="Without a ridge; mean and range over seeds.",
                )
            )
    if len(numbers.trend):
        rows = _chosen(numbers.trend).rename(columns={"count": "filters"})
        for column, title, percent in (
            ("test_error", "Test error", True),
            ("norm", "Norm of the coefficients", False),
        ):
            found.append(
                curves(
                    rows,
                    x=Axis("filters", title="Random filters", log=True),
                    y=Axis(column, title=title, percent=percent, log=not percent),
                    group="fit",
                    groups=[RIDGELESS, RIDGED],
                    name=f"filters-{column.replace('_', '-')}",
                    title=f"{title} against random filters",
                    caption="Of a linear model on their pooled activations; mean and range over "
                    "seeds.",
                )
            )
    return found
