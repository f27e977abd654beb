"""The evidence tells memorizing from learning; SGD has an optimum batch size.

Paper   Smith and Le (2018), A Bayesian perspective on generalization and stochastic gradient
        descent, arXiv:1710.06451.
Repeats The evidence of logistic regression on zeros and ones with informative and random labels,
        over the prior; test accuracy against batch size, and its optimum against the learning
        rate and the number of examples.
Rules   In `_smith2018_claims.py`, beside each sentence.
Cost    smoke: seconds. small: three quarters of an hour of one core (132 runs of 5,000 updates,
        and the evidence; measured). paper: a GPU.
Run     gengap study run smith2018 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._result import StudyResult
from ._smith2018_claims import claims
from ._smith2018_numbers import evidences, optima
from ._smith2018_pictures import charts, tables
from ._smith2018_trials import PRECISIONS, Scale, digits, entries

TITLE = (
    "Smith and Le (2018): A Bayesian perspective on generalization and stochastic gradient descent"
)
SEEDS: dict[Scale, tuple[int, ...]] = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "On scikit-learn's 8 x 8 digits: whether the claims hold on another, small data set, "
    "in seconds.",
    "small": "On MNIST: logistic regression as in the paper; the batch sizes with the paper's "
    "network and half of its updates.",
    "paper": "On MNIST, as in the paper.",
}
_ALWAYS = (
    "Pixels are in [0, 1]; the paper does not say how it scaled them, and a precision means "
    "something else for other pixels.",
    f"The prior, also on the bias, has {len(PRECISIONS)} precisions from {PRECISIONS[-1]:g} to "
    f"{PRECISIONS[0]:g}; the paper's list is not known to us.",
    "A first run on MNIST had no precision below 1e-4, at which 95 % of the random labels were "
    "right; weaker ones were added after it, and no rule was changed.",
    "The minimum is found by L-BFGS and Newton's method in float64, and the evidence has the full "
    "Hessian; the paper's optimizer for this experiment is not known to us.",
    "Every seed draws other zeros and ones, and other random labels.",
    "Less than one nat, a factor of e in probability, is not called a preference: for strong "
    "priors the two models become the same.",
    "Weights start from He's normal initialization; the paper does not say from which.",
    "Updates are at least as many as said and end with an epoch; batches are drawn without "
    "replacement within it.",
    "The optimum is the top of a parabola through mean accuracies, not the best batch size run.",
)
_AT = {
    "smoke": (
        "{train} digits of each class are trained on, and all others tested on.",
        "The network has 64 hidden units, not 800, and 200 updates, not 10,000.",
        "These digits separate so well that the test loss falls with ever weaker priors: whether "
        "the evidence finds the best prior is judged on MNIST only.",
    ),
    "small": (
        "5,000 updates, not 10,000.",
        "The batch sizes of a sweep are about six around the optimum, after a few short runs that "
        "showed below which training breaks down.",
        "The number of examples is changed at a learning rate of 0.3, not 1; momentum is not "
        "changed.",
    ),
    "paper": (),
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
        lab: Where trials are run and kept.
        scale: How much of it.
        seeds: Which; None takes 0, 1 and 2, at smoke scale 0 and 1.
        train: Whether to run what is not complete; without, the result tells what is there.
        progress: Called a few times a second with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    plan = entries(scale, chosen)
    first = [entry for entry in plan if entry.place["part"] == "evidence"]
    gather(lab, first, train=train, progress=progress)
    evidence = evidences(lab, plan, compute=train)
    found = gather(lab, plan, train=train, progress=progress)
    best = optima(found.ends)
    return StudyResult(
        name=f"smith2018-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(evidence, best, scale),
        tables=tables(evidence, found.ends, best),
        charts=charts(evidence, found.ends, best),
        deviations=[
            *(sentence.format(train=digits(scale).train) for sentence in _AT[scale]),
            *_ALWAYS,
        ],
        cost=cost(found),
        command=f"gengap study run smith2018 --scale {scale}",
    )
