"""Inception V3 on ImageNet with true and random labels: table 2 and figure 2(a).

Paper   Zhang et al. (2017), Understanding deep learning requires rethinking generalization,
        arXiv:1611.03530, table 2, figure 2(a), appendix A.
Repeats Every row of table 2: augmentation, dropout and weight decay on and off, labels true and
        random; top-1 and top-5 accuracies, and the best on the way.
Rules   In `_zhang2017_imagenet_claims.py`, beside each sentence.
Cost    smoke: seconds, on synthetic images in a folder of the same layout. paper: 14 runs of 100
        epochs of 1,281,167 images; many GPUs.
Run     gengap study run zhang2017-imagenet --scale smoke
        torchrun --nproc_per_node 8 -m gengap study run zhang2017-imagenet --scale paper
            --engine torchrun --out runs
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gengap._checks import check_choice, check_count
from gengap.lab import Lab, Progress

from ._cost import cost
from ._gather import gather
from ._result import StudyResult
from ._zhang2017_imagenet_claims import claims
from ._zhang2017_imagenet_pictures import charts, tables, with_top
from ._zhang2017_imagenet_trials import Scale, entries

TITLE = "Zhang et al. (2017), table 2: ImageNet"
SEEDS = (0, 1)
LEAD = {
    "smoke": "A small Alexnet on 48 synthetic images of 4 classes, in a folder laid out as "
    "ImageNet's: the way of the data is checked, not the paper.",
    "paper": "Inception V3 on all of ImageNet (ILSVRC 2012).",
}
DEVIATIONS = {
    "smoke": ("Another network, and synthetic images.",),
    "paper": (
        "Images are scaled to cover 331 x 331; training takes random windows of 299 x 299 and "
        "mirrors them, testing takes the centre. The paper's pipeline also changes scale, aspect "
        "ratio and colours.",
        "torchvision's Inception V3 without its auxiliary head.",
        "Momentum SGD on synchronous batches of 1,024, a warm-up of five epochs to 0.4, then a "
        "cosine over 100 epochs, bfloat16 forward passes, weight decay 4e-5; the paper trained "
        "asynchronously on 50 workers and does not give its settings.",
        "Evaluated every five epochs.",
    ),
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
        scale: "smoke" or "paper": of images as large as these there is no smaller selection that
            two cores could train on.
        seeds: Which; None takes two.
        train: Whether to run what is not there; without, the result tells what is.
        progress: Called with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
        ValueError: The scale is "small".
    """
    check_choice("scale", scale, ("smoke", "paper"))
    chosen = tuple(SEEDS if seeds is None else seeds)
    check_count("seeds", len(chosen))
    local = lab.store.files.local
    with tempfile.TemporaryDirectory() as spare:
        wanted = entries(scale, chosen, Path(spare) if local is None else local)
        found = gather(lab, wanted, train=train, progress=progress)
    ends = with_top(found)
    return StudyResult(
        name=f"zhang2017-imagenet-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(ends, scale),
        tables=tables(ends),
        charts=charts(found.history),
        deviations=DEVIATIONS[scale],
        cost=cost(found),
        command=f"gengap study run zhang2017-imagenet --scale {scale}",
    )
