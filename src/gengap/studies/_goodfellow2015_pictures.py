"""The tables and figures of Goodfellow et al. (2015)."""

from collections.abc import Sequence

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, paths

from ._gather import runs_text
from ._goodfellow2015_numbers import BETWEEN, FROM_START, Numbers
from ._goodfellow2015_trials import Network
from ._judging import values
from ._read_paths import file_name


def tables(ends: pd.DataFrame, numbers: Numbers, networks: Sequence[Network]) -> list[Table]:
    """Return all tables."""
    lines = []
    for network in networks:
        own = numbers.bumps[numbers.bumps["network"] == network.name]
        start, between = (own[own["kind"] == kind] for kind in (FROM_START, BETWEEN))
        runs = ends[(ends["network"] == network.name) & (ends["part"] == "ends")]
        lines.append({
            "network": network.name,
            "loss at the start": Measured.of(start["before"].astype(float)),
            "rise, start to end": Measured.of(start["rise"].astype(float)),
            "barrier, end to end": Measured.of(between["barrier"].astype(float)),
            "train accuracy": Measured.of(100 * values(runs, "train_accuracy")),
            "test accuracy": Measured.of(100 * values(runs, "test_accuracy")),
            "runs": runs_text(runs["status"]),
        })
    losses = ("loss at the start", "rise, start to end", "barrier, end to end")
    return [
        Table(
            name="bumps",
            title="Obstacles on straight lines",
            frame=pd.DataFrame(lines),
            formats={
                **dict.fromkeys(losses, ".4f"),
                **dict.fromkeys(("train accuracy", "test accuracy"), ".1f"),
            },
            caption="Training loss in nats; rise: above the lowest value before; barrier: above "
            "the chord between the ends. Accuracies in percent. Mean over seeds or pairs of seeds "
            "± standard deviation.",
        )
    ]


def charts(numbers: Numbers, networks: Sequence[Network]) -> list[Chart]:
    """Return the figures for which there are runs."""
    found = []
    ends = {FROM_START: ("start", "end"), BETWEEN: ("one end", "another")}
    for network in networks:
        file = file_name(network.name)
        for kind, names in ends.items():
            own = numbers.paths[
                (numbers.paths["network"] == network.name) & (numbers.paths["kind"] == kind)
            ]
            if len(own):
                found.append(
                    paths(
                        own,
                        name=f"{file_name(kind)}-{file}",
                        title=f"{network.name}: from {names[0]} to {names[1]}",
                        caption="On the straight line; mean and range over "
                        f"{'pairs of seeds' if kind == BETWEEN else 'seeds'}.",
                        ends=names,
                    )
                )
    return [*found, *_ways(numbers.ways, networks)]


def _ways(ways: pd.DataFrame, networks: Sequence[Network]) -> list[Chart]:
    if not len(ways):
        return []
    return [
        curves(
            ways,
            x=Axis("along", title="Along the line, share of its length"),
            y=Axis("beside", title="Beside it, share of its length"),
            group="network",
            groups=[network.name for network in networks],
            name="way",
            title="The way of SGD beside the line",
            caption="The first seed's weights at the start, after 1, 2, 4, ... epochs, and at the "
            "end: their place along the line from start to end and their distance from it.",
            band=None,
        )
    ]
