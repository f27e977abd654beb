"""The tables and figures on expressivity."""

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves

from ._zhang2017_expressivity_numbers import DIMENSION, Numbers

_N = Axis("n", title="Examples n", log=True)
_FORMATS = {
    **dict.fromkeys(("n", "weights", "2n + d", "width", "wrong"), ",.0f"),
    **dict.fromkeys(("error", "error, plain sum", "largest slope"), ".1e"),
    **dict.fromkeys(("make, s", "evaluate, s"), ".2g"),
    **dict.fromkeys(("condition number", "largest weight"), ".1e"),
    "test accuracy": ".1f",
}


def tables(numbers: Numbers) -> list[Table]:
    """Return all tables."""
    return [
        _table(
            numbers.images,
            keys=["data", "labels"],
            name="images",
            title="All training images of a data set",
            caption="Means over seeds ± standard deviation. No label is wrong; the error is the "
            "largest difference between an output and its label, counted from 0 to 9, by prefix "
            "sums and by a plain sum over all ReLUs on 1,000 images, in float64. Test accuracy in "
            "percent. The paper's networks that fit random labels on CIFAR-10 have 1,209,866 (MLP "
            "1x512) to 1,735,178 (MLP 3x512) parameters.",
        ),
        _table(
            numbers.sizes,
            keys=[],
            name="sizes",
            title="Random points with random labels",
            caption=f"Standard normal points of {DIMENSION} dimensions, labels of ten classes.",
        ),
        _table(
            numbers.depths,
            keys=["depth"],
            name="depths",
            title="Depth 2 to 10",
            caption="The same points and labels at every depth.",
        ),
        _places(numbers.places),
    ]


def _table(rows: pd.DataFrame, *, keys: list[str], name: str, title: str, caption: str) -> Table:
    lines = []
    for place, own in rows.groupby([*keys, "n"], sort=False):
        mean = {column: Measured.of(own[column].astype(float)) for column in _SHOWN.values()}
        line: dict[str, object] = dict(zip([*keys, "n"], place, strict=True))
        line |= {shown: mean[column] for shown, column in _SHOWN.items()}
        line |= {shown: round(mean[_SHOWN[shown]].mean) for shown in ("weights", "width", "wrong")}
        line["2n + d"] = int(2 * own["n"].iloc[0] + own["d"].iloc[0])
        if name == "images":
            line["test accuracy"] = Measured.of(100 * own["test_accuracy"].astype(float))
        lines.append(line)
    columns = [*keys, "n", "weights", "2n + d", *list(_SHOWN)[1:]]
    columns += ["test accuracy"] if name == "images" else []
    return Table(
        name=name,
        title=title,
        frame=pd.DataFrame(lines, columns=columns),
        formats={key: code for key, code in _FORMATS.items() if key in columns},
        caption=caption,
    )


_SHOWN = {
    "weights": "weights",
    "width": "width",
    "wrong": "wrong",
    "error": "error",
    "error, plain sum": "dense_error",
    "largest slope": "slope",
    "make, s": "make_seconds",
    "evaluate, s": "evaluate_seconds",
}


def _places(places: pd.DataFrame) -> Table:
    shown = {"error": "error", "condition number": "condition", "largest weight": "largest"}
    lines = [
        {
            "n": n,
            "thresholds": place_name(float(str(place))),
            **{name: Measured.of(own[column].astype(float)) for name, column in shown.items()},
        }
        for (n, place), own in places.groupby(["n", "place"], sort=False)
    ]
    return Table(
        name="thresholds",
        title="Where the thresholds are",
        frame=pd.DataFrame(lines, columns=["n", "thresholds", *shown]),
        formats={name: _FORMATS[name] for name in ("n", *shown)},
        caption="The triangular system of lemma 1 solved as it stands by scipy, one random "
        "direction, float64: the largest error of A w, the condition number of A in the 2-norm, "
        "the largest weight. Thresholds stand so far above the lower neighbour, in shares of the "
        "gap.",
    )


def place_name(place: float) -> str:
    """Return how a place of thresholds is called."""
    return {0.0: "at the lower neighbour", 0.5: "midway"}.get(place, f"{place:.0%} above it")


def charts(numbers: Numbers) -> list[Chart]:
    """Return the figures for which there are numbers."""
    sizes, depths, places = numbers.sizes, numbers.depths, numbers.places
    found = []
    if len(sizes):
        found += [
            _drawn(
                sizes,
                {"weights": "weights"},
                Axis("value", title="Weights", log=True),
                name="weights",
                title="Weights against examples",
                caption=f"2n + d, d = {DIMENSION}; random points with random labels.",
            ),
            _drawn(
                sizes,
                {"make_seconds": "construct", "evaluate_seconds": "evaluate on all"},
                Axis("value", title="Seconds", log=True),
                name="time",
                title="Time against examples",
                caption="Wall time of one thread; mean and range over seeds.",
            ),
            _drawn(
                sizes,
                {"error": "prefix sums", "dense_error": "plain sum of all ReLUs"},
                Axis("value", title="Largest error of an output", log=True),
                name="error",
                title="Error against examples",
                caption="Labels are 0 to 9; below 0.5 every label is right. Mean and range over "
                "seeds; the plain sum on 1,000 examples.",
            ),
        ]
    if len(depths):
        found.append(
            curves(
                depths.assign(group=f"{int(depths['n'].iloc[0]):,} points"),
                x=Axis("depth", title="Depth k"),
                y=Axis("width", title="Width", log=True),
                group="group",
                name="width",
                title="Width against depth",
                caption="The widest layer of the network that gives every point its label.",
                band=None,
            )
        )
    if len(places):
        found.append(
            curves(
                places.assign(group=places["place"].map(place_name)),
                x=_N,
                y=Axis("error", title="Largest error of a triangular solve", log=True),
                group="group",
                name="thresholds",
                title="Error against where the thresholds are",
                caption="Thresholds between neighbours; mean and range over seeds.",
            )
        )
    return found


def _drawn(
    sizes: pd.DataFrame, groups: dict[str, str], y: Axis, *, name: str, title: str, caption: str
) -> Chart:
    frames = [
        sizes[["n", "seed"]].assign(value=sizes[column].astype(float), group=group)
        for column, group in groups.items()
    ]
    return curves(
        pd.concat(frames),
        x=_N,
        y=y,
        group="group",
        name=name,
        title=title,
        caption=caption,
        unit="seed",
    )
