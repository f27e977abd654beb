"""Optimizers that start from one point end in different places, each in its own manner.

Paper   Im, Tao, Branson (2016), An empirical analysis of the optimization of deep network loss
        surfaces, arXiv:1612.04010.
Repeats The loss along lines and over planes between the ends of SGD, momentum, Adam and RMSprop,
        from one start, with and without BatchNorm.
Rules   In `_im2016_claims.py`, beside each sentence.
Cost    smoke: seconds. small: ten minutes on one core (measured). paper: a GPU.
Run     gengap study run im2016 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._im2016_claims import claims
from ._im2016_numbers import measure
from ._im2016_pictures import charts, tables
from ._im2016_trials import Scale, entries
from ._result import StudyResult

TITLE = (
    "Im, Tao and Branson (2016): An empirical analysis of the optimization of deep network loss "
    "surfaces"
)
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "An MLP on 600 of scikit-learn's 8 x 8 digits.",
    "small": "An MLP with two hidden layers of 256 on 10,000 MNIST digits.",
    "paper": "An MLP with two hidden layers of 512 on MNIST.",
}
DEVIATIONS = (
    "MLPs on digits; the paper has convolutional networks on CIFAR-10 and an LSTM, and further "
    "optimizers (Adadelta, Runge-Kutta).",
    "Switching the optimizer in the middle of training is not repeated.",
    "BatchNorm statistics are recomputed at every point of a line or plane.",
    "The paper shows surfaces and gives no numbers; the rules are ours.",
)


def run(
    lab: Lab,
    *,
    scale: Scale = "smoke",
    seeds: Sequence[int] | None = None,
    train: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> StudyResult:
    """Run the study.

    Args:
        lab: Where trials are run and kept, and what is read of their weights.
        scale: How much of it.
        seeds: Which; None takes three, two at smoke scale.
        train: Whether to run and read what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when a path has been read.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    found = gather(lab, entries(scale, chosen), train=train, progress=progress)
    numbers = measure(lab, scale, chosen, compute=train, progress=progress)
    return StudyResult(
        name=f"im2016-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers),
        tables=tables(found.ends, numbers),
        charts=charts(numbers),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run im2016 --scale {scale}",
    )
