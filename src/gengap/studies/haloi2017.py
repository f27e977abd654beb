"""The same parameters, fast or slow reduction of feature space; learning-rate decay.

Paper   Haloi (2017), Deep Learning: Generalization Requires Deep Compositional Feature Space
        Design, arXiv:1706.01983.
Repeats Convolutional networks with one number of parameters that halve the image early or evenly
        over their depth, at a constant and a decayed learning rate.
Rules   In `_haloi2017_claims.py`, beside each sentence.
Cost    smoke: seconds. small: minutes. paper: a GPU.
Run     gengap study run haloi2017 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._haloi2017_claims import claims
from ._haloi2017_pictures import charts, tables
from ._haloi2017_trials import PLANS, Scale, entries
from ._result import StudyResult

TITLE = "Haloi (2017): Generalization requires deep compositional feature space design"
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "Four convolutions of 6 channels on 200 of scikit-learn's 8 x 8 digits.",
    "small": "Six convolutions of 8 channels on 1,000 images of Fashion-MNIST.",
    "paper": "Nine convolutions of 96 channels on CIFAR-10.",
}
DEVIATIONS = (
    "Plain convolutions and max-pooling with a mean over positions at the end, so that the number "
    "of parameters does not depend on where the image shrinks; the paper's networks are larger "
    "and differ in more.",
    "The decay is a cosine to zero.",
    "A network that shrinks fast also computes less: the parameters are the same, not the cost.",
    "We know the paper's claims from its abstract; the rules are ours.",
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
        seeds: Which; None takes three, two at smoke scale.
        train: Whether to run what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    plan = PLANS[scale]
    found = gather(lab, entries(scale, chosen), train=train, progress=progress)
    return StudyResult(
        name=f"haloi2017-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(found.ends, plan),
        tables=tables(found.ends, plan),
        charts=charts(found.history, plan),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run haloi2017 --scale {scale}",
    )
