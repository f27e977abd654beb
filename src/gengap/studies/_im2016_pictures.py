"""The tables and figures of Im et al. (2016)."""

from itertools import combinations

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves, surface

from ._gather import runs_text
from ._im2016_numbers import Numbers
from ._im2016_trials import NETWORKS, OPTIMIZERS
from ._judging import values
from ._read_paths import file_name


def tables(ends: pd.DataFrame, numbers: Numbers) -> list[Table]:
    """Return all tables."""
    return [_runs(ends, numbers.distances), _barriers(numbers.barriers)]


def _runs(ends: pd.DataFrame, distances: pd.DataFrame) -> Table:
    lines = []
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            rows = ends[(ends["network"] == network) & (ends["optimizer"] == optimizer)]
            own = distances[
                (distances["network"] == network) & (distances["optimizer"] == optimizer)
            ]
            lines.append({
                "network": network,
                "optimizer": optimizer,
                "train loss": Measured.of(values(rows, "train_loss")),
                "test accuracy": Measured.of(100 * values(rows, "test_accuracy")),
                "distance": Measured.of(own["distance"].astype(float)),
                "runs": runs_text(rows["status"]),
            })
    return Table(
        name="runs",
        title="Where the optimizers end",
        frame=pd.DataFrame(lines),
        formats={"train loss": ".4f", "test accuracy": ".2f", "distance": ".2f"},
        caption="Distance: Euclidean, from start to end. Mean over seeds ± standard deviation.",
    )


def _barriers(barriers: pd.DataFrame) -> Table:
    lines = []
    for first, second in combinations(OPTIMIZERS, 2):
        pair = f"{first} to {second}"
        own = barriers[barriers["pair"] == pair]
        found = {
            network: Measured.of(own[own["network"] == network]["barrier"].astype(float))
            for network in NETWORKS
        }
        lines.append({"pair": pair, **found})
    return Table(
        name="barriers",
        title="Barriers between the ends of two optimizers",
        frame=pd.DataFrame(lines),
        formats=dict.fromkeys(NETWORKS, ".3f"),
        caption="How far the training loss goes above the chord, in nats; BatchNorm statistics "
        "recomputed at every point. Mean over seeds ± standard deviation.",
    )


def charts(numbers: Numbers) -> list[Chart]:
    """Return the figures for which there are runs."""
    found = []
    for network in NETWORKS:
        file = file_name(network)
        own = numbers.paths[
            (numbers.paths["network"] == network) & (numbers.paths["half"] == "train")
        ]
        if len(own):
            found.append(
                curves(
                    own,
                    x=Axis("alpha", title="α"),
                    y=Axis("loss", title="Train loss"),
                    group="pair",
                    unit="seed",
                    name=f"between-optimizers-{file}",
                    title=f"Between the ends of two optimizers, {network}",
                    caption="On the straight line, from the first (0) to the second (1); mean and "
                    "range over seeds.",
                )
            )
        if network in numbers.planes:
            frame, points = numbers.planes[network]
            found.append(
                surface(
                    frame[frame["half"] == "train"],
                    value=Axis("loss", title="Train loss"),
                    points=points,
                    name=f"plane-{file}",
                    title=f"The plane through three ends, {network}",
                    caption="The first seed; x and y are distances in parameter space.",
                    equal=True,
                )
            )
    return found
