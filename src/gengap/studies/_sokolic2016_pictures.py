"""The tables and figures of the study of Sokolic et al. (2016)."""

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, bars, dots

from ._gather import ENDED, runs_text


def tables(ends: pd.DataFrame, complexities: pd.DataFrame) -> list[Table]:
    """Return the tables."""
    first = [
        {
            "network": name,
            "trained": Measured.of(part["value"].astype(float)),
            "error": float(part["standard_error"].mean()),
            "bound": Measured.of(part["bound"].astype(float)),
            "positions": int(part["positions"].iloc[0]),
            "trained, operator of norm 1": Measured.of(
                part["value"].astype(float) / part["positions"].astype(float) ** 0.5
            ),
        }
        for name, part in complexities.groupby("network", sort=False)
    ]
    second = []
    for (network, penalty), part in ends.groupby(["network", "penalty"], sort=False):
        done = part[part["status"].isin(ENDED)]
        second.append({
            "network": network,
            "penalty": penalty,
            "train": Measured.of(100 * done["train_accuracy"].astype(float)),
            "test": Measured.of(100 * done["test_accuracy"].astype(float)),
            "coherence": Measured.of(done["coherence"].astype(float)),
            "runs": runs_text(part["status"]),
        })
    last = "trained, operator of norm 1"
    columns = ["network", "trained", "error", "bound", "positions", last]
    return [
        Table(
            name="complexity",
            frame=pd.DataFrame(first, columns=columns),
            title="Empirical Rademacher complexity at norm 1 a layer",
            formats={"trained": ".3f", "error": ".3f", "bound": ".2f", last: ".3f"},
            caption="Trained: reached on random signs, a lower bound; mean over seeds ± standard "
            "deviation. Error: standard error over signs. Bound: from norms, patch by patch. Last "
            "column: the same with the norm of the whole operator held to 1, which is that of the "
            "kernel times the root of the positions; exact, as outputs scale with the weights.",
        ),
        Table(
            name="penalty",
            frame=pd.DataFrame(second),
            title="The penalty on the coherence of the representation",
            formats={"train": ".1f", "test": ".1f", "coherence": ".3f"},
            caption="Accuracies in percent, mean over seeds ± standard deviation. Coherence: mean "
            "squared cosine between the representations of 500 test examples.",
        ),
    ]


def charts(ends: pd.DataFrame, complexities: pd.DataFrame) -> list[Chart]:
    """Return the figures."""
    found = []
    if len(complexities):
        found.append(
            bars(
                complexities,
                category="network",
                value=Axis("value", title="Rademacher complexity, trained"),
                name="complexity",
                title="Full connections against convolutions",
                caption="Weights of norm 1 a layer; range over seeds.",
            )
        )
    done = ends[ends["status"].isin(ENDED)]
    if len(done):
        found.append(
            dots(
                done.assign(test=done["test_accuracy"].astype(float)),
                x=Axis("penalty", title="Strength of the penalty"),
                y=Axis("test", title="Test accuracy", percent=True),
                group="network",
                connect="group",
                name="penalty",
                title="Test accuracy with the penalty on coherence",
                caption="Mean and range over seeds.",
            )
        )
    return found
