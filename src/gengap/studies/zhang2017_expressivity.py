"""A network of 2n + d weights, constructed, fits any n labels; size alone is enough to memorize.

Paper   Zhang et al. (2017), Understanding deep learning requires rethinking generalization,
        arXiv:1611.03530, section 4 and appendix C.
Repeats Theorem 1 (two layers, 2n + d weights) and corollary 1 (depth k, width O(n / k)) as networks
        that are constructed, evaluated and counted, on real images and on up to a million points.
Rules   In `_zhang2017_expressivity_claims.py`, beside each sentence.
Cost    smoke: seconds. small and paper: minutes on a core.
Run     gengap study run zhang2017-expressivity --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._result import StudyResult
from ._zhang2017_expressivity_claims import claims
from ._zhang2017_expressivity_numbers import Scale, measure
from ._zhang2017_expressivity_pictures import charts, tables

TITLE = (
    "Zhang et al. (2017): Understanding deep learning requires rethinking generalization, section "
    "4: finite-sample expressivity"
)
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "scikit-learn's 8 x 8 digits and up to 10,000 random points.",
    "small": "All of MNIST and CIFAR-10, and up to 1,000,000 random points.",
    "paper": "All of MNIST and CIFAR-10, and up to 1,000,000 random points.",
}
DEVIATIONS = (
    "The paper proves; it has no experiments on this. The numbers are ours.",
    "Thresholds are at the lower neighbour, the end of the interval that lemma 1 allows, and the "
    "direction is the best of eight; the proof takes any.",
    "The deep network hands on a running sum in place of the proof's multiplexer: it is exact, "
    "with 2(k - 2) + 1 weights more than 2n + d.",
    "Ones that only hand a value on to the next layer are not counted as weights, as the shared "
    "direction is counted once in theorem 1.",
)


def run(
    lab: Lab,
    *,
    scale: Scale = "smoke",
    seeds: Sequence[int] | None = None,
    train: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> StudyResult:
    """Run the study; nothing is trained.

    Args:
        lab: Where what is measured of the networks is kept.
        scale: How much of it.
        seeds: Which; None takes three, two at smoke scale.
        train: Whether to construct what is not there; without, the result tells what is.
        progress: Called when a network has been measured.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    numbers = measure(lab, scale, chosen, compute=train, progress=progress)
    return StudyResult(
        name=f"zhang2017-expressivity-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers),
        tables=tables(numbers),
        charts=charts(numbers),
        deviations=DEVIATIONS,
        cost=f"Nothing is trained; all constructions took {numbers.seconds / 60:.1f} minutes (one "
        "thread of a CPU each).",
        command=f"gengap study run zhang2017-expressivity --scale {scale}",
    )
