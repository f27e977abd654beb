"""The tables and figures of Zheng et al. (2017)."""

import pandas as pd

from gengap.report import Axis, Chart, Measured, Table, curves

from ._judging import values
from ._zheng2017_claims import excess, probe_losses
from ._zheng2017_numbers import Numbers
from ._zheng2017_trials import PLAIN, SHORTCUTS, VARIANTS, Plan


def tables(ends: pd.DataFrame, numbers: Numbers, plan: Plan) -> list[Table]:
    """Return all tables."""
    last = plan.epochs[-1]
    moments = numbers.moments[numbers.moments["epochs"] == last]
    layers = numbers.layers[numbers.layers["epochs"] == last]
    lines = []
    for variant in VARIANTS:
        runs = ends[(ends["variant"] == variant) & (ends["epochs"] == last)]
        own = moments[moments["variant"] == variant]
        lines.append({
            "network": variant,
            "moment residual": Measured.of(own["relative_residual"].astype(float)),
            "correlation above chance": Measured.of(excess(layers, variant)),
            "probe, first layer": Measured.of(probe_losses(layers, variant, last=False)),
            "probe, last layer": Measured.of(probe_losses(layers, variant, last=True)),
            "train accuracy": Measured.of(100 * values(runs, "train_accuracy")),
            "test accuracy": Measured.of(100 * values(runs, "test_accuracy")),
        })
    return [
        Table(
            name="conditions",
            title="The conditions at the end of training",
            frame=pd.DataFrame(lines),
            formats={
                "moment residual": ".1e",
                **dict.fromkeys(("train accuracy", "test accuracy"), ".1f"),
                **dict.fromkeys(("probe, first layer", "probe, last layer"), ".3f"),
                "correlation above chance": ".3f",
            },
            caption="Moment residual: relative. Probes: held-out loss in nats of softmax "
            "regression on a layer's features. Accuracies in percent. Mean over seeds ± standard "
            "deviation.",
        )
    ]


def charts(numbers: Numbers, plan: Plan) -> list[Chart]:
    """Return the figures for which there are runs."""
    if not len(numbers.layers):
        return []
    layers = numbers.layers.astype({"correlation": float, "chance": float, "probe_loss": float})
    layers = layers.assign(above=layers["correlation"] - layers["chance"])
    depth = Axis("layer", title="Hidden layer")
    end = layers[layers["epochs"] == plan.epochs[-1]]
    text = "After the last epoch; mean and range over seeds."
    return [
        curves(
            end,
            x=depth,
            y=Axis("above", title="Correlation within a class, above chance"),
            group="variant",
            groups=VARIANTS,
            name="correlation",
            title="The second condition, layer by layer",
            caption=text,
        ),
        curves(
            end,
            x=depth,
            y=Axis("probe_loss", title="Held-out loss of a linear probe, nats"),
            group="variant",
            groups=VARIANTS,
            name="probes",
            title="The first condition, layer by layer",
            caption=text,
        ),
        *_training(layers, depth),
        curves(
            numbers.moments.astype({"relative_residual": float}),
            x=Axis("epochs", title="Epochs", log=True),
            y=Axis("relative_residual", title="Moment residual, relative", log=True),
            group="variant",
            groups=VARIANTS,
            name="moments",
            title="Moment matching during training",
            caption="Mean and range over seeds.",
        ),
    ]


def _training(layers: pd.DataFrame, depth: Axis) -> list[Chart]:
    found = []
    for variant in (PLAIN, SHORTCUTS):
        own = layers[layers["variant"] == variant]
        if len(own):
            found.append(
                curves(
                    own.assign(after=[f"epoch {epochs}" for epochs in own["epochs"]]),
                    x=depth,
                    y=Axis("probe_loss", title="Held-out loss of a linear probe, nats"),
                    group="after",
                    name=f"training-{variant}",
                    title=f"The first condition during training, {variant}",
                    caption="Mean and range over seeds.",
                )
            )
    return found
