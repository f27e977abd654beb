"""Gradients of different examples cohere on true labels, and not on random ones.

Paper   Chatterjee and Zielinski (2022), On the generalization mystery in deep learning,
        arXiv:2203.10036; Zielinski, Krishnan, Chatterjee (2020), Making coherence out of nothing
        at all, arXiv:2008.01217, for what happens to it over training.
Repeats m-coherence over training on true and random labels for up to seven networks; the example
        of six weights; early stopping; which examples are learned early, and whether networks
        agree.
Rules   In `_chatterjee2022_claims.py`, beside each sentence.
Cost    smoke: seconds. small: hours on two cores. paper: a GPU.
Run     gengap study run chatterjee2022 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._chatterjee2022_claims import claims
from ._chatterjee2022_numbers import agreements, phases, six_weight_runs, stopping
from ._chatterjee2022_pictures import charts, tables
from ._chatterjee2022_trials import Scale, entries, networks
from ._cost import cost
from ._gather import gather
from ._probed import coherence_of, examples_of
from ._result import StudyResult

TITLE = "Chatterjee and Zielinski (2022): On the generalization mystery in deep learning"
SEEDS = (0, 1, 2)
LEAD = {
    "smoke": "The example of six weights exactly, and two perceptrons on 400 of scikit-learn's "
    "8 x 8 digits: whether the claims hold on another, small data set, in seconds.",
    "small": "The example of six weights exactly; two MLPs and LeNet on 2,000 MNIST digits; an "
    "MLP, Alexnet, a ResNet of 8 layers and Inception on 2,000 images of CIFAR-10.",
    "paper": "The example of six weights exactly; two MLPs and LeNet on MNIST; an MLP, Alexnet, "
    "Inception and a ResNet of 20 layers on CIFAR-10.",
}
_ALWAYS = (
    "The papers measure ImageNet networks and one MLP of 2,048 units on MNIST; here they are small "
    "networks on small images, with {probe} examples in the probe sample instead of 40,356.",
    "The first MLP sees pixels in [0, 1] and starts from PyTorch's own, small weights, so that its "
    "outputs start nearly equal, as those of the paper's networks soon become; from He's weights "
    "on standardized pixels, as the others', outputs differ at first and what all of them have in "
    "common coheres on any labels for the first ten steps.",
    "The gradients are those of single examples in evaluation mode, for networks with BatchNorm "
    "too, where the paper may have used minibatches.",
    "m-coherence is bounded by the size of the probe sample: values of samples of different sizes "
    "are not comparable.",
    "Learning times are those of epochs, not of steps, and of the training half; an example counts "
    "from the epoch since when it has been right.",
    "Which examples are learned early, and the agreement of two networks on it, is measured by "
    "rank correlation; the papers' own numbers were not found.",
)
_AT = {
    "smoke": (
        "LeNet, Alexnet, Inception and the ResNet are not run; both networks are MLPs that start "
        "as the first one of the other scales does.",
    ),
    "small": (
        "All networks train on 2,000 examples drawn once, the same for every seed, so that "
        "early steps are a larger part of training; convolutional networks have two seeds.",
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
        seeds: Which; None takes 0, 1 and 2, of which slow networks take the first ones.
        train: Whether to run what is not complete; without, the result tells what is there.
        progress: Called a few times a second with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS if seeds is None else seeds)
    check_count("seeds", len(chosen))
    plan = entries(scale, chosen)
    found = gather(lab, plan, train=train, progress=progress)
    probed = coherence_of(lab, plan)
    told, names = phases(found.ends, probed), [network.name for network in networks(scale)]
    stopped = stopping(found.ends, found.history)
    agreed = agreements(examples_of(lab, plan), scale)
    six = six_weight_runs()
    probes = sorted({network.probe for network in networks(scale)})
    probe = " to ".join(f"{n:,}" for n in dict.fromkeys((probes[0], probes[-1])))
    return StudyResult(
        name=f"chatterjee2022-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(told, stopped, agreed, six, networks(scale)),
        tables=tables(found.ends, told, stopped, agreed, six),
        charts=charts(probed, found.history, names),
        deviations=[*_AT[scale], *(sentence.format(probe=probe) for sentence in _ALWAYS)],
        cost=cost(found),
        command=f"gengap study run chatterjee2022 --scale {scale}",
    )
