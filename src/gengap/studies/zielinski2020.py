"""Weak gradient directions memorize: a median of three gradients leaves them out.

Paper   Zielinski, Krishnan, Chatterjee (2020), Weak and strong gradient directions: explaining
        memorization, generalization, and hardness of examples at scale, arXiv:2003.07422.
Repeats M3, RM3 and the mean of three beside SGD with label noise, at equally many updates; easy
        and hard examples generalizing to themselves and to each other.
Rules   In `_zielinski2020_claims.py`, beside each sentence.
Cost    smoke: seconds. small: hours on two cores. paper: a GPU.
Run     gengap study run zielinski2020 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._probed import coherence_of
from ._result import StudyResult
from ._zielinski2020_claims import claims
from ._zielinski2020_numbers import delays, groups
from ._zielinski2020_pictures import charts, tables
from ._zielinski2020_trials import Scale, entries, judges

TITLE = "Zielinski, Krishnan and Chatterjee (2020): Weak and strong gradient directions"
SEEDS = (0, 1, 2)
LEAD = {
    "smoke": "On scikit-learn's 8 x 8 digits: whether the claims hold on another, small data set, "
    "in seconds.",
    "small": "On 2,000 and 10,000 MNIST digits, with batches of 3 to 1,000 and a tenth or half of "
    "the labels redrawn; easy and hard examples of MNIST and CIFAR-10.",
    "paper": "As the small scale, and on all of MNIST; easy and hard examples of all of MNIST and "
    "CIFAR-10. The paper's ImageNet is out of reach.",
}
_NETWORKS = {
    "smoke": "perceptrons learn digits",
    "small": "perceptrons learn digits and CIFAR-10",
    "paper": "perceptrons learn digits, and Alexnet CIFAR-10",
}
_ALWAYS = (
    "Rules are compared at equally many updates. M3 and the mean of three then see three times "
    "as many examples as the others; in the paper M3 makes a third of the updates.",
    "The rolling mean, RM3's control, is the released code's; the mean of three, M3's, is ours.",
    "Easy is what a network has right after one epoch, the paper's after two of ImageNet; groups "
    "are equally large and have equally many examples of each class, which the paper does not "
    "say of its own. A sixth of each is held out.",
    "Images are standardized by the mean and standard deviation of their data set; nothing is "
    "augmented, weight decay and momentum are zero, as in the paper, but for the epoch that tells "
    "easy from hard (momentum 0.9).",
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
        lab: Where trials are run and kept.
        scale: How much of it.
        seeds: Which; None takes 0, 1 and 2.
        train: Whether to run what is not complete; without, the result tells what is there.
        progress: Called a few times a second with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS if seeds is None else seeds)
    check_count("seeds", len(chosen))
    if train:
        gather(lab, judges(scale, chosen), progress=progress)
    plan = entries(lab, scale, chosen)
    found = gather(lab, [*judges(scale, chosen), *plan], train=train, progress=progress)
    runs = delays(found.ends, found.history)
    tested = groups(lab, plan, coherence_of(lab, plan))
    return StudyResult(
        name=f"zielinski2020-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(runs, tested),
        tables=tables(runs, tested),
        charts=charts(found.history, tested),
        deviations=[
            "The paper trains ResNets on ImageNet, with batches of 256 for 90 epochs; here "
            f"{_NETWORKS[scale]}.",
            *_ALWAYS,
        ],
        cost=cost(found),
        command=f"gengap study run zielinski2020 --scale {scale}",
    )
