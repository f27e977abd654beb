"""The table of studies, and the way from a name to its run."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final, get_args

from gengap._checks import check_choice

if TYPE_CHECKING:
    from gengap.lab import Lab, Progress

    from ._result import StudyResult

Scale = Literal["smoke", "small", "paper"]


@final
@dataclass(frozen=True, kw_only=True)
class Name:
    """A study, as a list of studies shows it.

    Attributes:
        module: Where its `run` is.
        title: Authors, year and title of the paper.
        summary: What is repeated, in a line.
    """

    module: str
    title: str
    summary: str


_STUDIES = {
    "zhang2017": Name(
        module="gengap.studies.zhang2017",
        title="Zhang et al. (2017): Understanding deep learning requires rethinking generalization",
        summary="networks fit random labels: tables 1 and 4, figures 1 and 2, parameters",
    ),
    "zhang2017-imagenet": Name(
        module="gengap.studies.zhang2017_imagenet",
        title="Zhang et al. (2017), table 2: ImageNet",
        summary="Inception V3 on true and random labels, with and without regularizers",
    ),
    "zhang2017-kernels": Name(
        module="gengap.studies.zhang2017_kernels",
        title="Zhang et al. (2017), section 5: linear models and kernels",
        summary="Gaussian kernels, Gabor wavelets, random filters, norms of interpolants",
    ),
    "chatterjee2020": Name(
        module="gengap.studies.chatterjee2020",
        title="Chatterjee (2020): Coherent gradients",
        summary="label noise: who has the gradient; winsorized SGD does not memorize",
    ),
    "zielinski2020": Name(
        module="gengap.studies.zielinski2020",
        title="Zielinski, Krishnan and Chatterjee (2020): Weak and strong gradient directions",
        summary="medians of three gradients beside SGD; easy and hard examples",
    ),
    "chatterjee2022": Name(
        module="gengap.studies.chatterjee2022",
        title="Chatterjee and Zielinski (2022): On the generalization mystery in deep learning",
        summary="m-coherence on true and random labels; six weights; who is learned early",
    ),
    "dinh2017": Name(
        module="gengap.studies.dinh2017",
        title="Dinh et al. (2017): Sharp minima can generalize for deep nets",
        summary="one function, any sharpness: rescaling, theorem 5, other coordinates",
    ),
    "keskar2017": Name(
        module="gengap.studies.keskar2017",
        title="Keskar et al. (2017): On large-batch training for deep learning",
        summary="large batches end sharper: accuracies, sharpness, paths, warm starts",
    ),
    "smith2018": Name(
        module="gengap.studies.smith2018",
        title="Smith and Le (2018): A Bayesian perspective on generalization and SGD",
        summary="evidence on informative and random labels; the optimum batch size",
    ),
    "goodfellow2015": Name(
        module="gengap.studies.goodfellow2015",
        title="Goodfellow et al. (2015): Characterizing neural network optimization problems",
        summary="the straight line from start to end meets no obstacle",
    ),
    "martin2017": Name(
        module="gengap.studies.martin2017",
        title="Martin and Mahoney (2017): Rethinking generalization requires revisiting old ideas",
        summary="load and temperature: learning curves, phase planes of a network",
    ),
    "im2016": Name(
        module="gengap.studies.im2016",
        title="Im et al. (2016): Optimization of deep network loss surfaces",
        summary="optimizers from one start end in different places; planes between them",
    ),
    "sokolic2016": Name(
        module="gengap.studies.sokolic2016",
        title="Sokolic et al. (2016): Lessons from the Rademacher complexity for deep learning",
        summary="convolutions against full connections, trained and bounded; coherence penalized",
    ),
    "kawaguchi2017": Name(
        module="gengap.studies.kawaguchi2017",
        title="Kawaguchi, Kaelbling and Bengio (2017): Generalization in deep learning",
        summary="DARC1; the gap in path coordinates; two-phase training; validation bound",
    ),
    "zheng2017": Name(
        module="gengap.studies.zheng2017",
        title="Zheng, Sang and Xu (2017): Deep learning generalization by maximum entropy",
        summary="the maximum-entropy conditions of features, layer by layer, during training",
    ),
    "haloi2017": Name(
        module="gengap.studies.haloi2017",
        title="Haloi (2017): Generalization requires deep compositional feature space design",
        summary="the same parameters, fast or slow reduction of feature space; learning-rate decay",
    ),
    "zhang2017-expressivity": Name(
        module="gengap.studies.zhang2017_expressivity",
        title="Zhang et al. (2017), section 4: finite-sample expressivity",
        summary="2n + d weights, constructed, fit any n labels; depth k at width n / k",
    ),
    "lin2018": Name(
        module="gengap.studies.lin2018",
        title="Lin (2018): Generalization and expressivity for deep nets",
        summary="two hidden layers localize: indicators of cubes, the rate of their averages",
    ),
}


def names() -> dict[str, Name]:
    """Return the studies by name, each with the `title` of its paper and a `summary`."""
    return dict(_STUDIES)


def run(
    name: str,
    scale: Scale = "smoke",
    *,
    lab: "Lab | None" = None,
    seeds: Sequence[int] | None = None,
    train: bool = True,
    progress: "Callable[[Progress], None] | None" = None,
) -> "StudyResult":
    """Run a study: a paper's tables, figures and claims, its numbers beside ours.

    Args:
        name: One of `names()`.
        scale: "smoke" takes seconds, "small" hours on two cores, "paper" a GPU.
        lab: Where trials are kept; None keeps them in the folder gengap-runs.
        seeds: Which; None takes the study's own.
        train: Whether to run what is not complete; without, the result tells what is there.
        progress: Called a few times a second with how far a group of trials is.

    Raises:
        ValueError: There is no such study or scale.
        StoreError: The store cannot be read or written.
    """
    check_choice("name", name, tuple(_STUDIES))
    check_choice("scale", scale, get_args(Scale))
    if lab is None:
        from gengap.lab import Lab

        lab = Lab()
    module = importlib.import_module(_STUDIES[name].module)
    result: StudyResult = module.run(lab, scale=scale, seeds=seeds, train=train, progress=progress)
    return result
