"""The same function is as sharp or as flat as its coordinates make it.

Paper   Dinh, Pascanu, Bengio, Bengio (2017), Sharp minima can generalize for deep nets,
        arXiv:1703.04933.
Repeats Rescaling of trained networks: the same function, largest eigenvalue, trace and sharpness
        from α = 1 to 1000; theorem 5 on an MLP and a convolutional network; the ball of section
        4.3; other coordinates of section 5 and appendix A; which measures stay.
Rules   In `_dinh2017_claims.py`, beside each sentence.
Cost    smoke: seconds. small: minutes on two cores. paper: an hour, or a GPU.
Run     gengap study run dinh2017 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._dinh2017_claims import claims
from ._dinh2017_numbers import measure
from ._dinh2017_pictures import charts, tables
from ._dinh2017_trials import Scale, entries, networks
from ._gather import gather
from ._result import StudyResult

TITLE = "Dinh et al. (2017): Sharp minima can generalize for deep nets"
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "Small networks on 200 of scikit-learn's 8 x 8 digits.",
    "small": "An MLP on 1,000 and LeNet on 500 MNIST digits; theorem 5 on small networks and 8 x 8 "
    "digits.",
    "paper": "An MLP and LeNet on MNIST; theorem 5 on small networks and 8 x 8 digits.",
}
DEVIATIONS = (
    "The paper proves; it has no experiments. The numbers are ours, of trained networks.",
    "Networks have biases, which go along by the cumulated factor (appendix B); fewer eigenvalues "
    "can then be raised, and the promise counts them.",
    "Theorems 4 and 5 ask for a minimum; here the Hessian is that of the trained network, where "
    "the gradient is small and not zero. Theorem 3 holds at any point.",
    "The least value over all rescalings is ours: it is what of a sharpness can be compared "
    "between networks.",
    "Every hidden layer is multiplied by the same α, in a network with several.",
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
        seeds: Which; None takes three, two at smoke scale.
        train: Whether to run and measure what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when a measurement is done.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    plan = entries(scale, chosen)
    found = gather(lab, plan, train=train, progress=progress)
    numbers = measure(lab, plan, compute=train, progress=progress)
    nets = networks(scale)
    return StudyResult(
        name=f"dinh2017-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers, nets),
        tables=tables(numbers),
        charts=charts(numbers, nets),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run dinh2017 --scale {scale}",
    )
