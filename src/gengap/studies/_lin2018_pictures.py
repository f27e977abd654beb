"""The tables and figures of Lin (2018)."""

import math
from dataclasses import replace

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves

from ._lin2018_claims import SPARSE_EXPONENT
from ._lin2018_numbers import NOISE, TARGETS, Numbers, exponents

_ERROR = Axis("error", title="Squared error at fresh points", log=True)


def tables(numbers: Numbers) -> list[Table]:
    """Return all tables."""
    lines = []
    for target in TARGETS:
        own = numbers.rates[numbers.rates["target"] == target.name]
        if not len(own):
            continue
        ends = own[own["n"].isin([own["n"].min(), own["n"].max()])].groupby("n")["error"]
        (low, first), (high, last) = ((n, Measured.of(errors)) for n, errors in ends)
        lines.append({
            "target": target.name,
            "r": target.smoothness,
            "n": f"{low:,} to {high:,}",
            "error, fewest": first,
            "error, most": last,
            "exponent": Measured.of(exponents(own, "n").values()),
            "theory": target.exponent,
        })
    columns = ["target", "r", "n", "error, fewest", "error, most", "exponent", "theory"]
    return [
        Table(
            name="rates",
            title="Rates",
            frame=pd.DataFrame(lines, columns=columns),
            formats={
                "r": "g",
                **dict.fromkeys(("error, fewest", "error, most"), ".2e"),
                **dict.fromkeys(("exponent", "theory"), ".3f"),
            },
            caption="Mean squared error of averages over N^d cubes, n = N^(2r + d); noise of "
            f"standard deviation {NOISE:g}. The exponent is the slope of a line through the "
            "logarithms, a seed; mean ± standard deviation.",
        ),
        Table(
            name="sparse",
            title="Targets that are 0 on most of the interval",
            frame=pd.DataFrame(
                [
                    {
                        "share": share,
                        "n": int(own["n"].iloc[0]),
                        "cubes": int(own["per_axis"].iloc[0]),
                        "error": Measured.of(own["error"].astype(float)),
                    }
                    for share, own in numbers.sparse.groupby("share")
                ],
                columns=["share", "n", "cubes", "error"],
            ),
            formats={"share": ".4g", "n": ",.0f", "error": ".2e"},
            caption=f"Theory: the error falls as the share to the {SPARSE_EXPONENT:.3f}.",
        ),
    ]


def _decades(errors: pd.Series) -> Axis:
    """Return the axis of errors, from one power of ten to another."""
    low, high = (math.log10(float(error)) for error in (errors.min(), errors.max()))
    return replace(_ERROR, domain=(10.0 ** math.floor(low), 10.0 ** math.ceil(high)))


def charts(numbers: Numbers) -> list[Chart]:
    """Return the figures for which there are numbers."""
    found = []
    if len(numbers.rates):
        found.append(
            curves(
                numbers.rates,
                x=Axis("n", title="Examples n", log=True),
                y=_ERROR,
                group="target",
                groups=[target.name for target in TARGETS],
                name="rates",
                title="Error against examples",
                caption="Averages over cubes, whose number grows with the examples; mean and range "
                "over seeds.",
                unit="seed",
            )
        )
    if len(numbers.sparse):
        found.append(
            curves(
                numbers.sparse.assign(group="averages over cubes"),
                x=Axis(
                    "share", title="Share of the interval on which the target is not 0", log=True
                ),
                y=_decades(numbers.sparse["error"]),
                group="group",
                name="sparse",
                title="Error against how sparse the target is",
                caption="The same wave, cut off; mean and range over seeds.",
                unit="seed",
            )
        )
    return found
