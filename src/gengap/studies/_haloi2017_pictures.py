"""The table and the figures of Haloi (2017)."""

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves

from ._gather import runs_text
from ._haloi2017_claims import gap, parameters
from ._haloi2017_trials import RATES, REDUCTIONS, Plan
from ._judging import values


def tables(ends: pd.DataFrame, plan: Plan) -> list[Table]:
    """Return all tables."""
    counts, lines = parameters(plan), []
    for reduction in REDUCTIONS:
        for rate in RATES:
            own = ends[(ends["reduction"] == reduction) & (ends["rate"] == rate)]
            lines.append({
                "reduction": reduction,
                "halved after": ", ".join(map(str, plan.pool_after(reduction))),
                "learning rate": rate,
                "parameters": f"{counts[reduction]:,}",
                "train accuracy": Measured.of(100 * values(own, "train_accuracy")),
                "test accuracy": Measured.of(100 * values(own, "test_accuracy")),
                "gap of the loss": Measured.of(gap(own)),
                "runs": runs_text(own["status"]),
            })
    return [
        Table(
            name="reductions",
            title="Fast and slow reduction of feature space",
            frame=pd.DataFrame(lines),
            formats={"train accuracy": ".1f", "test accuracy": ".1f", "gap of the loss": ".3f"},
            caption="Halved after: the convolutions that are followed by 2x2 max-pooling. "
            "Accuracies in percent, gap in nats; mean over seeds ± standard deviation.",
        )
    ]


def charts(history: pd.DataFrame, plan: Plan) -> list[Chart]:
    """Return the figures for which there are runs."""
    if not len(history):
        return []
    ways = [f"{reduction}, {rate}" for reduction in REDUCTIONS for rate in RATES]
    told = history.assign(
        error=1 - history["test_accuracy"].astype(float),
        gap=history["test_loss"].astype(float) - history["train_loss"].astype(float),
    )
    told = told[told["epoch"] > 0]
    epochs = Axis("epoch", title="Epochs")
    return [
        curves(
            told,
            x=epochs,
            y=Axis("error", title="Test error", percent=True),
            group="way",
            groups=ways,
            name="test-error",
            title="Test error",
            caption=f"Networks of {plan.depth} convolutions; mean and range over seeds.",
        ),
        curves(
            told,
            x=epochs,
            y=Axis("gap", title="Test loss less train loss, nats"),
            group="way",
            groups=ways,
            name="gap",
            title="The gap of the loss",
            caption="Mean and range over seeds.",
        ),
    ]
