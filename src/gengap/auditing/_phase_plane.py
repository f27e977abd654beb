"""The phase plane of a network: load against temperature, with what is measured as color."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pandas as pd

from gengap._checks import check_choice, check_count
from gengap.data import Split
from gengap.lab import Data, Lab, Progress, Trial
from gengap.report import Axis, Chart, heat_map
from gengap.training import Recipe

from ._phase_numbers import frame
from ._phase_settings import Load, Network, Temperature, cells, one_axis, pairs_of

AXES = {
    "label_noise": Axis("load", title="Labels redrawn", percent=True),
    "width": Axis("load", title="Width"),
    "batch_size": Axis("temperature", title="Batch size"),
    "lr": Axis("temperature", title="Learning rate"),
    "epochs": Axis("temperature", title="Epochs of training"),
}
VALUES = {
    "test_error": Axis("test_error", title="Test error (%)", percent=True),
    "train_error": Axis("train_error", title="Train error (%)", percent=True),
    "top_eigenvalue": Axis("top_eigenvalue", title="Largest eigenvalue", log=True),
    "trace": Axis("trace", title="Trace of the Hessian", log=True),
    "connectivity": Axis("connectivity", title="Connectivity"),
    "cka": Axis("cka", title="CKA"),
}
_CAPTIONS = {
    "test_error": "On the test half, whose labels are true.",
    "train_error": "On the training examples, with their redrawn labels.",
    "top_eigenvalue": "Of the Hessian of the mean training loss.",
    "trace": "Of the Hessian of the mean training loss, estimated to a tenth.",
    "connectivity": "Mean training loss of two networks less that of the point that differs most "
    "on a trained Bezier curve between them; below 0 is a barrier.",
    "cka": "Debiased linear CKA of the softmax of two networks on mixtures of training examples.",
}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PhasePlane:
    """What was measured over a load and a temperature.

    Attributes:
        load: "label_noise" or "width".
        temperature: "batch_size", "lr" or "epochs".
        frame: One row a cell and pair of networks: load, temperature, pair, examples_per_weight
            (with a true label), status; means over the two networks of train_error, test_error,
            train_loss, test_loss, top_eigenvalue, trace, and of whether both converged; of the
            two together connectivity (of the training loss, on a trained Bezier curve),
            error_connectivity, straight (the same on the straight line), cka and its standard
            error. NaN where a network diverged or was not trained.
        trials: What was trained, each once.
    """

    load: Load
    temperature: Temperature
    frame: pd.DataFrame = field(repr=False)
    trials: Sequence[Trial] = field(default=(), repr=False)

    def chart(self, value: str, *, name: str | None = None) -> Chart:
        """Draw one value as a heat map.

        Args:
            value: "test_error", "train_error", "top_eigenvalue", "trace", "connectivity" or
                "cka".
            name: Name of the chart's files; None is the value and the settings.
        """
        check_choice("value", value, tuple(VALUES))
        axes = AXES[self.load], AXES[self.temperature]
        words = [axis.text[:1].lower() + axis.text[1:] for axis in axes]
        heading = VALUES[value].text.removesuffix(" (%)")
        told = name or f"{value}-{self.load}-{self.temperature}".replace("_", "-")
        pairs = self.frame["pair"].nunique()
        return heat_map(
            self.frame,
            x=axes[0],
            y=axes[1],
            value=VALUES[value],
            center=0.0 if value == "connectivity" else None,
            bright="high" if value == "cka" else "low",
            name=told,
            title=f"{heading}: {words[0]} and {words[1]}",
            caption=f"{_CAPTIONS[value]} Mean over {pairs} pair{'s' * (pairs > 1)} of networks "
            "that differ in their seed.",
        )

    def charts(self) -> list[Chart]:
        """Draw every value."""
        return [self.chart(value) for value in VALUES]


def phase_plane(
    build: Network,
    train: Split | Data,
    test: Split | None = None,
    *,
    label_noise: Sequence[float] | None = None,
    width: Sequence[int] | None = None,
    batch_size: Sequence[int] | None = None,
    lr: Sequence[float] | None = None,
    epochs: Sequence[int] | None = None,
    recipe: Recipe | None = None,
    seeds: Sequence[int] = (0, 1),
    steps: int = 300,
    lab: Lab | str | Path | None = None,
    run: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> PhasePlane:
    """Train networks over a load and a temperature, two a place, and measure them.

    The load is the label noise or the width; the temperature the batch size (small is hot), the
    learning rate (large is hot) or the epochs of training (few are hot). Exactly one of each is
    given. Two networks of a pair have the same examples and redrawn labels, and other seeds.

    Args:
        build: Makes a fresh network; with `width`, of the width that it is given. Or a
            `gengap.lab.Model`, or what returns one.
        train: The train half, or data of a lab with both halves.
        test: The test half; its labels stay true.
        label_noise: Probabilities with which training labels are redrawn.
        width: Widths.
        batch_size: Batch sizes.
        lr: Learning rates.
        epochs: Stopping times.
        recipe: Everything else about training; None is SGD at 0.1 with momentum 0.9 for 100
            epochs.
        seeds: Two for each pair.
        steps: Steps of training of each Bezier curve.
        lab: Where trials and numbers are kept, so that they can be resumed; None keeps nothing.
        run: Whether to train and measure what is not there; without, NaN tells what is not.
        progress: Called a few times a second with how far a group of trials is.

    Returns:
        The plane: `frame`, `chart("test_error")`, `charts()`.

    Raises:
        ValueError: Not exactly one load and one temperature, or an odd number of seeds.
        StoreError: The store cannot be read or written.

    Source:
        Martin and Mahoney (2017), arXiv:1710.09553, for load and temperature; Yang et al. (2021),
        arXiv:2107.11228, for what is measured. Ours takes debiased CKA.
    """
    load = one_axis(label_noise=label_noise, width=width)
    temperature = one_axis(batch_size=batch_size, lr=lr, epochs=epochs)
    check_count("steps", steps, least=0)
    data = train if isinstance(train, Data) else Data.of(train, test)
    plan = cells(
        data,
        build,
        load=load,
        temperature=temperature,
        recipe=recipe or Recipe(epochs=100),
        pairs=pairs_of(seeds),
    )
    trials = list({trial.id: trial for cell in plan for trial in cell.trials}.values())
    how: dict[str, Any] = {"steps": steps, "compute": run, "progress": progress}

    def fill(lab: Lab) -> PhasePlane:
        if run:
            lab.run(trials, progress=progress)
        return PhasePlane(
            load=load[0],  # type: ignore[arg-type]
            temperature=temperature[0],  # type: ignore[arg-type]
            frame=frame(lab, plan, **how),
            trials=trials,
        )

    if lab is None:
        with tempfile.TemporaryDirectory(prefix="gengap-") as folder:
            return fill(Lab(folder))
    return fill(lab if isinstance(lab, Lab) else Lab(lab))
