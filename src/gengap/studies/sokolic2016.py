"""Rademacher complexity of convolutions and of full connections; coherence as a penalty.

Paper   Sokolic, Giryes, Sapiro, Rodrigues (2016), Lessons from the Rademacher complexity for deep
        learning, ICLR workshop.
Repeats Complexity of convolutional against fully connected networks, by training on random signs
        and by bounds; the effect of the kernel's size; the penalty on coherence.
Rules   In `_sokolic2016_claims.py`, beside each sentence.
Cost    smoke: seconds. small: minutes on two cores. paper: an hour.
Run     gengap study run sokolic2016 --scale smoke
"""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._result import StudyResult
from ._sokolic2016_claims import claims
from ._sokolic2016_pictures import charts, tables
from ._sokolic2016_trials import (
    FULL,
    PLANS,
    Plan,
    Scale,
    coherence_of,
    complexity,
    entries,
    kernel_name,
    positions,
)  # fmt: skip

TITLE = "Sokolic et al. (2016): Lessons from the Rademacher complexity for deep learning"
SEEDS = {"smoke": (0, 1), "small": (0, 1, 2), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "Small networks on scikit-learn's 8 x 8 digits.",
    "small": "Complexity of networks of one hidden layer on 100 MNIST digits; the penalty on 500.",
    "paper": "Complexity of networks of one hidden layer on 1,000 MNIST digits; the penalty on "
    "5,000.",
}
DEVIATIONS = (
    "The paper's bounds and its form of the penalty were not at hand: the bound is ours, the step "
    "of Golowich et al. (2018) taken patch by patch, and the penalty the mean squared cosine "
    "between representations.",
    "The paper bounds; here the complexity is also reached from below, by training on random "
    "signs. Training may miss the supremum.",
    "Networks of one hidden layer. The norm that is held to 1 is that of the weights as they are "
    "stored: a kernel used at many positions is an operator whose norm is larger by the root of "
    "their number. With the operator held to 1 (a column of the table) the convolutions have by "
    "far the lower complexity, as a part of the fully connected networks must.",
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
        lab: Where trials are run and kept, and what is measured.
        scale: How much of it.
        seeds: Which; None takes three, two at smoke scale.
        train: Whether to run and measure what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is, and when a measurement is done.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    plan, asked = PLANS[scale], entries(scale, chosen)
    found = gather(lab, asked, train=train, progress=progress)
    read = lab.measure(
        [coherence_of(entry, lab.model) for entry in asked], compute=train, progress=progress
    )
    ends = found.ends.assign(
        coherence=[float((one or {}).get("coherence", math.nan)) for one in read]
    )
    numbers = _complexities(lab, plan, chosen, train=train, progress=progress)
    return StudyResult(
        name=f"sokolic2016-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(ends, numbers, plan),
        tables=tables(ends, numbers),
        charts=charts(ends, numbers),
        deviations=DEVIATIONS,
        cost=cost(found),
        command=f"gengap study run sokolic2016 --scale {scale}",
    )


def _complexities(
    lab: Lab,
    plan: Plan,
    seeds: Sequence[int],
    *,
    train: bool,
    progress: Callable[[Progress], None] | None,
) -> pd.DataFrame:
    """Return the complexity of every network, a row each and seed."""
    places = [(side, seed) for side in (None, *plan.kernels) for seed in seeds]
    read = lab.measure(
        [complexity(plan, side, seed) for side, seed in places], compute=train, progress=progress
    )
    rows = [
        {
            "network": FULL if side is None else kernel_name(side),
            "seed": seed,
            "positions": positions(plan, side),
            **values,
        }
        for (side, seed), values in zip(places, read, strict=True)
        if values is not None
    ]
    columns = ["network", "seed", "positions", "value", "standard_error", "bound"]
    return pd.DataFrame(rows, columns=columns)
