"""Whether the features of networks meet the conditions of the maximum-entropy classifier.

Paper   Zheng, Sang, Xu (2017), Understanding deep learning generalization by maximum entropy,
        arXiv:1711.07758.
Repeats The conditions as measured quantities, layer by layer, during training, with and without
        shortcuts and regularizers.
Rules   In `_zheng2017_claims.py`, beside each sentence.
Cost    smoke: seconds. small: minutes. paper: hours.
Run     gengap study run zheng2017 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._result import StudyResult
from ._zheng2017_claims import claims, fitted
from ._zheng2017_numbers import measure
from ._zheng2017_pictures import charts, tables
from ._zheng2017_trials import PLANS, Scale, entries

TITLE = "Zheng, Sang and Xu (2017): Understanding deep learning generalization by maximum entropy"
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "Perceptrons of three hidden layers on 300 of scikit-learn's 8 x 8 digits.",
    "small": "Perceptrons of six hidden layers of 64 on 2,000 MNIST digits.",
    "paper": "Perceptrons of twelve hidden layers of 512 on CIFAR-10.",
}
DEVIATIONS = (
    "The paper states two conditions on features and proves that softmax on them is the "
    "maximum-entropy classifier; we measure a moment residual, linear probes and correlations "
    "within classes in their place.",
    "The conditions are told from memory of the paper: features keep what is known of the class, "
    "and are independent of each other given the class.",
    "Perceptrons with and without shortcuts; the rules are ours.",
    "Only networks that reach a train accuracy of 95 % are compared. This was added after a "
    "first look at the small scale, where most networks with shortcuts did not learn; then the "
    "learning rate of all was made a tenth, 0.002, at which they do.",
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
        lab: Where trials are run and kept, and what is read of their features.
        scale: How much of it.
        seeds: Which; None takes three, two at smoke scale.
        train: Whether to run and read what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when something has been read.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    asked, plan = entries(scale, chosen), PLANS[scale]
    found = gather(lab, asked, train=train, progress=progress)
    numbers = measure(lab, scale, asked, compute=train, progress=progress)
    return StudyResult(
        name=f"zheng2017-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers, plan, among=fitted(found.ends, plan)),
        tables=tables(found.ends, numbers, plan),
        charts=charts(numbers, plan),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run zheng2017 --scale {scale}",
    )
