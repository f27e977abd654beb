"""Networks that generalize well on true labels fit random labels just as well.

Paper   Zhang, Bengio, Hardt, Recht, Vinyals (2017), Understanding deep learning requires
        rethinking generalization, arXiv:1611.03530.
Repeats Table 1, table 4, figure 1 a to c, figure 2 on CIFAR-10, the numbers of parameters.
Rules   In `_zhang2017_claims.py` and `_zhang2017_figure_claims.py`, beside each sentence.
Cost    smoke: seconds. small: hours on two cores. paper: a GPU.
Run     gengap study run zhang2017 --scale smoke
"""

from collections.abc import Callable, Sequence

from gengap._checks import check_count
from gengap.lab import Lab, Progress

from ._gather import Entry, Gathered, gather
from ._result import StudyResult
from ._zhang2017_claims import claims
from ._zhang2017_pictures import charts, tables
from ._zhang2017_trials import (
    LEVELS,
    ROWS,
    WEIGHT_DECAY,
    Scale,
    figure_corruptions,
    figure_rows,
    figure_trial,
    runs_at,
    seeds_of,
    trial,
)

TITLE = "Zhang et al. (2017): Understanding deep learning requires rethinking generalization"
SEEDS: dict[Scale, tuple[int, ...]] = {
    "smoke": (0, 1, 2),
    "small": (0, 1),  # what two cores can do in an afternoon
    "paper": (0, 1, 2),
}
LEAD = {
    "smoke": "The multilayer perceptrons on scikit-learn's 8 x 8 digits: whether the claims hold "
    "on another, small data set, in seconds. No number is comparable with the paper's.",
    "small": "On CIFAR-10: the multilayer perceptrons on all 50,000 images, the convolutional "
    "networks and figure 1 on 2,000 of them.",
    "paper": "On all of CIFAR-10: every row, every figure.",
}
_ALWAYS = (
    "The batch size (128), the number of epochs (at most 100; 300 for random labels with data "
    "augmentation) and the coefficient of weight decay "
    f"({WEIGHT_DECAY:g}, on all parameters) are not in the paper; these are ours.",
    "A run ends once its train accuracy is {stop}; the paper does not say when its runs ended.",
    "Initial weights are He's, for Inception with BatchNorm Glorot's; the paper does not say which "
    "it used.",
    "Inception without BatchNorm trains at a learning rate of 0.005, reached over 150 steps, not "
    "0.1, and for at most 200 epochs where there are 2,000 images: at 0.1 it did not leave the "
    "loss of constant outputs.",
    "Fits are measured once an epoch on the whole train half in evaluation mode; with data "
    "augmentation the paper reports the accuracy on the changed images, here it is that on the "
    "centre crops.",
    "Time to fit is the number of steps to a train accuracy of 99 %; the paper does not give its "
    "threshold.",
    "Alexnet's channels and the order of its layers are those that give the paper's number of "
    "parameters; its pooling and Inception's pad as TensorFlow's SAME does; BatchNorm shifts but "
    "does not scale, which gives the paper's number of parameters.",
    "Figure 2 a is about ImageNet; here the gain of early stopping is measured on CIFAR-10 for "
    "every network.",
)
_AT = {
    "smoke": (
        "The data are 800 training and 360 test digits of 8 x 8 pixels instead of CIFAR-10.",
        "The learning rate is 0.05 and falls by 0.95 every 390 steps, the paper's number of steps "
        "an epoch, instead of every epoch.",
        "The paper's test accuracies, and its factor of 1.5 to 3.5 between the speeds of random "
        "and true labels, are those of CIFAR-10: they are not judged here.",
        "Convolutional networks are not run; figure 1 shows the MLP 1x512 instead of Inception.",
    ),
    "small": (
        "The convolutional networks, and all networks of figure 1, are trained on 2,000 of the "
        "50,000 images, drawn once, the same for every seed; the learning rate falls every 390 "
        "steps, the paper's number of steps an epoch, instead of every epoch.",
        "Inception, Alexnet with a regularizer and Alexnet in figure 1 have one seed, so that no "
        "claim about them alone can be more than inconclusive; Inception with weight decay or data "
        "augmentation is not run.",
        "Figure 1 shows Alexnet and the MLP 1x512; Inception is left out.",
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
        seeds: Which; None takes 0, 1 and 2, at small scale 0 and 1, of which most
            convolutional networks take the first only.
        train: Whether to run what is not complete; without, the result tells what is there.
        progress: Called a few times a second with how far a group of trials is.

    Raises:
        StoreError: The store cannot be read or written.
    """
    chosen = tuple(SEEDS[scale] if seeds is None else seeds)
    check_count("seeds", len(chosen))
    found = gather(lab, entries(scale, chosen), train=train, progress=progress)
    return StudyResult(
        name=f"zhang2017-{scale}",
        title=TITLE,
        lead=f"{LEAD[scale]} Scale `{scale}`, seeds {', '.join(map(str, chosen))}.",
        claims=claims(found.ends, scale),
        tables=tables(found, scale),
        charts=charts(found, scale),
        deviations=deviations(scale),
        cost=_cost(found),
        command=f"gengap study run zhang2017 --scale {scale}",
    )


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale: the rows of the tables, then the data sets of figure 1."""
    found = []
    for row in (row for row in ROWS if runs_at(row, scale)):
        place = {
            "part": "row",
            "row": ROWS.index(row),
            "table": row.table,
            "network": row.name,
            "labels": row.labels,
            "weight_decay": row.weight_decay,
            "augmentation": row.augmentation or "",
        }
        own = seeds_of(row, scale, seeds)
        found += [Entry(trial=trial(row, scale, seed), place=place) for seed in own]
    redrawn = {f"labels redrawn with p={p}": p for p in LEVELS}
    level = {"true labels": 0.0, **redrawn, "random labels": 1.0}
    for row in figure_rows(scale):
        for name, corruption in figure_corruptions().items():
            place = {"part": "figure", "network": row.name, "data_set": name}
            place["level"] = level.get(name)
            found += [
                Entry(trial=figure_trial(row, corruption, scale, seed), place=place)
                for seed in seeds_of(row, scale, seeds, figure=True)
            ]
    return found


def deviations(scale: Scale) -> list[str]:
    """Return how the study deviates from the paper at a scale, a sentence each."""
    stop = "100 %" if scale == "smoke" else "99.95 %, which the paper would print as 100.0"
    return [*_AT[scale], *(sentence.format(stop=stop) for sentence in _ALWAYS)]


def _cost(found: Gathered) -> str:
    minutes = found.seconds / 60
    took = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.1f} minutes"
    threads = "one thread of a CPU each, or a GPU"
    return (
        f"{found.ended} of {found.asked} trials have ended; training took {took} in all "
        f"({threads})."
    )
