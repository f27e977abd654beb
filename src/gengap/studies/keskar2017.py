"""Large batches end in sharp minima and generalize worse, small ones in flat minima.

Paper   Keskar, Mudigere, Nocedal, Smelyanskiy, Tang (2017), On large-batch training for deep
        learning: generalization gap and sharp minima, arXiv:1609.04836.
Repeats Tables 2 to 4 (accuracies, sharpness in the full space and in random subspaces), the
        distances from the start, parametric plots along lines and curves, warm starts; for the
        networks F1 on MNIST and C1 on CIFAR-10.
Rules   In `_keskar2017_claims.py`, beside each sentence.
Cost    smoke: seconds. small: hours on two cores. paper: a GPU.
Run     gengap study run keskar2017 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._keskar2017_claims import claims
from ._keskar2017_numbers import at_least_loss, measure
from ._keskar2017_pictures import charts, tables
from ._keskar2017_trials import Scale, entries, networks, warm_entries
from ._result import StudyResult

TITLE = "Keskar et al. (2017): On large-batch training for deep learning"
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2, 3, 4), "paper": (0, 1, 2, 3, 4)}
LEAD = {
    "smoke": "A narrow F1 on 400 of scikit-learn's 8 x 8 digits: whether the claims hold on "
    "another, small data set, in seconds.",
    "small": "F1 on MNIST and C1 on 2,000 images of CIFAR-10.",
    "paper": "F1 on MNIST and C1 on CIFAR-10.",
}
_ALWAYS = (
    "F2, C2, C3 and C4 are not run: TIMIT is not free, and the others are slow.",
    "Training ends once the training loss has not improved for some epochs, or at a most number of "
    "epochs, and the weights of the epoch with the least loss are taken; the paper trains without "
    "a budget until it stops improving. All numbers are of these weights.",
    "The search for the sharpest point starts at random points of the box, of which the best "
    "counts, in float64 on the training examples, BatchNorm in evaluation mode; the paper does not "
    "say where it starts. The columns of the random matrix are normal; the paper does not say.",
    "Along paths BatchNorm statistics are recomputed at every point; the paper's code interpolates "
    "the trained weights only.",
    "Initial weights are He's normal ones; the paper's are uniform.",
)
_AT = {
    "smoke": ("The large batch is a tenth of 400 examples, 40, and the small one 8.",),
    "small": (
        "F1 trains for at most 60 epochs with either batch size. The number was chosen after a run "
        "with another seed, whose large-batch loss still fell after 150 epochs, to 1.5e-5, long "
        "after every digit was right.",
        "A first run had 10,000 digits, batches of 43 and 1,000, up to 150 epochs and the weights "
        "of the last: the order of the test accuracies was inconclusive, and in 100 directions at "
        "5e-4 large batches were not the sharper ones (0.02 against 0.13). All digits were taken "
        "after it; and the weights of the epoch with the least loss, after the sharpness of two "
        "small-batch ends had been seen, where Adam's loss was up to 6 times its least. No rule "
        "was changed.",
        "F1's sharpness is that of the loss on 10,000 of the training digits, drawn once, C1's on "
        "500 of its training images.",
        "C1 trains on a subset drawn once. The large batch is a tenth of it as in the paper, and "
        "the small one is smaller by the paper's factor: 10, not 256.",
        "Each sharpness is the largest of two random starts.",
    ),
    "paper": ("Five random starts a value.",),
}


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
        seeds: Which; None takes five, two at smoke scale.
        train: Whether to run and measure what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when a measurement is done.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    plan = entries(scale, chosen)
    gather(lab, plan, train=train, progress=progress)
    plan += warm_entries(lab, scale, chosen)
    found = gather(lab, plan, train=train, progress=progress)
    numbers = measure(lab, plan, scale, compute=train, progress=progress)
    ends, nets = at_least_loss(found), networks(scale)
    return StudyResult(
        name=f"keskar2017-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(ends, numbers, nets),
        tables=tables(ends, numbers, nets),
        charts=charts(ends, numbers, nets),
        deviations=[*_AT[scale], *_ALWAYS],
        cost=cost(found),
        command=f"gengap study run keskar2017 --scale {scale}",
    )
