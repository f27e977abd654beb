"""The straight line from the start of training to its end meets no obstacle.

Paper   Goodfellow, Vinyals, Saxe (2015), Qualitatively characterizing neural network optimization
        problems, arXiv:1412.6544.
Repeats The loss along lines from the starting to the final weights and between the final weights
        of two runs; the way of SGD beside the line.
Rules   In `_goodfellow2015_claims.py`, beside each sentence.
Cost    smoke: seconds. small: half an hour on one core (measured). paper: a GPU.
Run     gengap study run goodfellow2015 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._goodfellow2015_claims import claims
from ._goodfellow2015_numbers import measure
from ._goodfellow2015_pictures import charts, tables
from ._goodfellow2015_trials import Scale, entries, networks
from ._result import StudyResult

TITLE = (
    "Goodfellow, Vinyals and Saxe (2015): Qualitatively characterizing neural network optimization "
    "problems"
)
SEEDS = (0, 1, 2)
LEAD = {
    "smoke": "A small MLP on 600 of scikit-learn's 8 x 8 digits.",
    "small": "An MLP and LeNet on 10,000 MNIST digits, Alexnet on 2,000 images of CIFAR-10.",
    "paper": "An MLP and LeNet on MNIST, Alexnet on CIFAR-10.",
}
DEVIATIONS = (
    "Networks with ReLU and SGD with momentum 0.9; the paper has maxout networks too, an LSTM, and "
    "deep linear networks.",
    "The paper shows curves and gives no numbers; what counts as an obstacle is ours.",
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
        seeds: Which; None takes three.
        train: Whether to run and read what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when a path has been read.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS if seeds is None else seeds)
    check_count("seeds", len(chosen))
    found = gather(lab, entries(scale, chosen), train=train, progress=progress)
    numbers = measure(lab, scale, chosen, compute=train, progress=progress)
    nets = networks(scale)
    return StudyResult(
        name=f"goodfellow2015-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers, nets),
        tables=tables(found.ends, numbers, nets),
        charts=charts(numbers, nets),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run goodfellow2015 --scale {scale}",
    )
