"""Linear models with enough features fit anything, and generalize without being told to.

Paper   Zhang, Bengio, Hardt, Recht, Vinyals (2017), Understanding deep learning requires
        rethinking generalization, arXiv:1611.03530, section 5.
Repeats Gaussian kernels on MNIST (pixels, Gabor wavelets) and CIFAR-10 (pixels), ridgeless and
        with a ridge, on true, half redrawn and random labels; their norms, and those of
        interpolants that do not generalize; random convolutions on CIFAR-10.
Rules   In `_zhang2017_kernels_claims.py`, beside each sentence.
Cost    smoke: seconds. small: a quarter of an hour on one core. paper: a machine with 24 GB.
Run     gengap study run zhang2017-kernels --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._result import StudyResult
from ._zhang2017_kernels_claims import claims
from ._zhang2017_kernels_numbers import measure
from ._zhang2017_kernels_pictures import charts, tables
from ._zhang2017_kernels_scales import Scale, interpolants

TITLE = (
    "Zhang et al. (2017), section 5: Understanding deep learning requires rethinking "
    "generalization, kernels"
)
SEEDS = (0, 1)
LEAD = {
    "smoke": "500 of scikit-learn's 8 x 8 digits.",
    "small": "4,000 MNIST digits and 3,000 images of CIFAR-10; random filters on 2,500 images.",
    "paper": "All 60,000 MNIST digits and all 50,000 images of CIFAR-10.",
}
DEVIATIONS = (
    "Fewer training examples than the paper's 60,000 and 50,000, except at scale `paper`.",
    "The paper does not say which Gabor wavelets it takes; ours are two wavelengths in eight "
    "directions, their moduli averaged over a grid of 7 x 7 windows, and the root of that.",
    "The bandwidth is the paper's 0.02 for MNIST's pixels. The paper gives none for the others; "
    "there it is the multiple of one over the median squared distance with the least leave-one-out "
    "error on 1,000 training examples.",
    "The paper's centres of the kernel that does not generalize are not described; ours are "
    "normal with the mean and covariance of the examples.",
    "Random convolutions follow Coates and Ng with random patches, a soft threshold at 0.25 and "
    "sums over quadrants; the linear model is fitted to indicators by least squares.",
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
        lab: Where what is computed is kept.
        scale: How much of it.
        seeds: Which; None takes two. They draw examples, labels, centres and filters.
        train: Whether to compute what is not there; without, the result tells what is.
        progress: Called when something has been computed.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS if seeds is None else seeds)
    check_count("seeds", len(chosen))
    numbers = measure(lab, scale, chosen, compute=train, progress=progress)
    asked = interpolants(scale)
    return StudyResult(
        name=f"zhang2017-kernels-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(numbers, asked),
        tables=tables(numbers, asked),
        charts=charts(numbers, asked),
        deviations=DEVIATIONS,
        cost="No network is trained: linear systems and eigenvalues, on one thread of a CPU.",
        command=f"gengap study run zhang2017-kernels --scale {scale}",
    )
