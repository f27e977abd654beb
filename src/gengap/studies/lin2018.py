"""Two hidden layers approximate locally, and learn Lipschitz targets at the best rate.

Paper   S.-B. Lin (2018), Generalization and expressivity for deep nets, arXiv:1803.03772.
Repeats The indicator of a cube as a unit of a second hidden layer; the rate of least squares over
        such units on targets of known smoothness, and on targets that are 0 on most of the space.
Rules   In `_lin2018_claims.py`, beside each sentence.
Cost    smoke: seconds. small: minutes on a core. paper: an hour.
Run     gengap study run lin2018 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._lin2018_claims import claims
from ._lin2018_numbers import Scale, measure
from ._lin2018_pictures import charts, tables
from ._result import StudyResult

TITLE = "Lin (2018): Generalization and expressivity for deep nets"
SEEDS = {"smoke": (0, 1, 2), "small": (0, 1, 2, 3, 4), "paper": (0, 1, 2, 3, 4)}
DEVIATIONS = (
    "The paper proves; the targets and numbers are ours, synthetic because the rate needs a target "
    "whose smoothness is known.",
    "The second layer is a step too where errors are measured, so that least squares over the "
    "units is the mean in each cube; the logistic unit is off by exp(-K / 2).",
    "Formula and rates were taken from a summary of the paper. The formula was checked cube by "
    "cube, the rates follow from bias plus variance, as the docstrings say.",
    "The cubes are as many as theory asks for, not chosen from data.",
)


def run(
    lab: Lab,
    *,
    scale: Scale = "smoke",
    seeds: Sequence[int] | None = None,
    train: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> StudyResult:
    """Run the study; nothing is trained by gradients.

    Args:
        lab: Where what is measured is kept.
        scale: How much of it.
        seeds: Which; None takes five, three at smoke scale.
        train: Whether to fit what is not there; without, the result tells what is.
        progress: Called when something has been measured.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    numbers = measure(lab, scale, chosen, compute=train, progress=progress)
    most = int(numbers.rates["n"].max()) if len(numbers.rates) else 0
    return StudyResult(
        name=f"lin2018-{scale}",
        title=TITLE,
        lead=f"Synthetic targets in one to three dimensions, up to {most:,} noisy examples. Scale "
        f"`{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers),
        tables=tables(numbers),
        charts=charts(numbers),
        deviations=DEVIATIONS,
        cost=f"All fits took {numbers.seconds / 60:.1f} minutes (one thread of a CPU each).",
        command=f"gengap study run lin2018 --scale {scale}",
    )
