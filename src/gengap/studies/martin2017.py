"""Load and temperature decide in which phase a network generalizes.

Paper   Martin and Mahoney (2017), Rethinking generalization requires revisiting old ideas:
        statistical mechanics approaches and complex learning behavior, arXiv:1710.09553. Its
        empirical follow-up: Yang et al. (2021), arXiv:2107.11228.
Repeats Learning curves of Ising and continuous perceptrons, with transition, spinodal and the
        rigorous crossing; all Ising students of a few weights, counted; the phase plane of a
        network: noise against stopping time, width against batch size.
Rules   In `_martin2017_claims.py`, beside each sentence.
Cost    smoke: seconds. small: minutes on two cores. paper: hours, or a GPU.
Run     gengap study run martin2017 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import Entry, gather
from ._martin2017_claims import claims
from ._martin2017_numbers import measure
from ._martin2017_pictures import charts, tables
from ._martin2017_settings import SETTINGS, Scale
from ._result import StudyResult

TITLE = "Martin and Mahoney (2017): Rethinking generalization requires revisiting old ideas"
LEAD = {
    "smoke": "Perceptrons of up to 10 weights; a network of one hidden layer on 200 of "
    "scikit-learn's 8 x 8 digits.",
    "small": "Perceptrons of up to 21 weights; a network of one hidden layer on 500 MNIST digits.",
    "paper": "Perceptrons of up to 23 weights; a network of one hidden layer on 5,000 MNIST "
    "digits.",
}
DEVIATIONS = (
    "The paper has no experiments: the planes of a network are those of Yang et al., who train "
    "ResNet18 on CIFAR-10; here a perceptron of one hidden layer on digits.",
    "The load of a network is examples with a true label over parameters; the paper leaves its "
    "capacity open.",
    "CKA is debiased, with a mixing share for each example; Yang et al. take the plain one, with "
    "one share a batch.",
    "Bezier curves are trained with Adam for a fixed number of steps, so that a barrier may be one "
    "of training.",
    "The recipe is the same in every cell. At small scale its learning rate is too hot for batches "
    "of 10: units die, and networks end flat and wrong.",
    "The redrawn labels of a pair of networks are the same, those of another pair others.",
    "The largest eigenvalue is found to a residual of a thousandth of it, the trace to a standard "
    "error of a tenth.",
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
        lab: Where trials are run and kept, and what is measured of their networks.
        scale: How much of it.
        seeds: Which, two for each pair; None takes two pairs, three at paper scale.
        train: Whether to run and measure what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when a measurement is done.

    Raises:
        ValueError: The number of seeds is odd.
        StoreError: The store cannot be read or written.
    """
    settings = SETTINGS[scale]
    chosen = tuple(settings.seeds if seeds is None else seeds)
    numbers = measure(lab, settings, chosen, train=train, progress=progress)
    trials = [*numbers.noise.trials, *numbers.width.trials]
    found = gather(lab, [Entry(trial=trial, place={}) for trial in trials], train=False)
    return StudyResult(
        name=f"martin2017-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers),
        tables=tables(numbers),
        charts=charts(numbers),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run martin2017 --scale {scale}",
    )
