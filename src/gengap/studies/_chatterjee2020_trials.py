"""The trials that repeat Chatterjee (2020): label noise, winsorized SGD, gradient shares."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from gengap.corruptions import RandomLabels
from gengap.lab import Data, Model, Trial
from gengap.training import Constant, Probes, Recipe, Step

from ._gather import Entry
from ._plain_pixels import plain_pixels

Scale = Literal["smoke", "small", "paper"]

NOISE = (0.0, 0.25, 0.5, 0.75, 1.0)
CLIPS = (0, 1, 2, 4, 8)
HALF = 0.5
SOME_DIGITS, ALL_DIGITS = "winsorized", "winsorized, all digits"  # small scale has both
EVERYWHERE = (0, 4)  # what small scale runs at every noise level: 4 is the c that does best at half
CLASSES = 10

HIDDEN = {"smoke": (128,), "small": (512,), "paper": (256, 256, 256)}
EXAMPLES = {"smoke": 400, "small": 10_000, "paper": 60_000}
EPOCHS = {"smoke": 100, "small": 120, "paper": 100}
SHARE_EPOCHS = 400  # at small scale, of figures 1 to 3
_LR = {"smoke": 0.5, "small": 0.3, "paper": 0.1}
_SLOW = 100  # the epoch from which the learning rate is a tenth, at small scale
_SAMPLE = {"smoke": 400, "small": 10_000, "paper": 10_000}
WORLDS = 100


def proper_accuracy(noise: float) -> float:
    r"""Return the train accuracy of who predicts every true label: $1 - \epsilon + \epsilon/10$."""
    return 1 - noise + noise / CLASSES


def allowance(noise: float, examples: int) -> float:
    """Return two standard deviations of the share of true labels that the draw leaves."""
    proper = proper_accuracy(noise)
    return float(2 * math.sqrt(proper * (1 - proper) / examples))


def data(scale: Scale) -> Data:
    """Return the digits of a scale, their pixels in [0, 1] as the paper's."""
    if scale == "smoke":
        return plain_pixels("digits", examples=EXAMPLES[scale])
    if scale == "small":
        return plain_pixels("mnist", examples=EXAMPLES[scale])
    return plain_pixels("mnist")


def cells(scale: Scale) -> list[tuple[float, int]]:
    """Return which (noise, c) are run: at small scale those at half noise, and of two c."""
    if scale == "paper":
        return [(noise, clip) for noise in NOISE for clip in CLIPS]
    if scale == "smoke":
        return [(HALF, 0), (HALF, 2), (HALF, 4), (0.0, 0), (1.0, 0)]
    return [(n, c) for n in NOISE for c in CLIPS if n == HALF or c in EVERYWHERE]


def recipe(clip: int, scale: Scale) -> Recipe:
    """Return the paper's recipe: batches of 100, learning rate 0.1, no momentum.

    At small scale the learning rate is 0.3 and a tenth of it in the last epochs, so that one
    hidden layer fits all labels. Plain SGD ends once it fits: it has nothing left to memorize.
    """
    common: dict[str, Any] = {
        "epochs": EPOCHS[scale],
        "batch_size": 20 if scale == "smoke" else 100,
        "lr": _LR[scale],
        "schedule": Step(milestones=(_SLOW,)) if scale == "small" else Constant(),
        "momentum": 0.0,
        "evaluate_every": 2 if scale == "small" else 1,
        "stop_at_accuracy": 1.0,
    }
    if clip == 0:
        return Recipe(**common)
    percent = 5.0 * clip if scale == "smoke" else float(clip)
    return Recipe(**common, optimizer="winsorized_sgd", clip_percent=percent)


def trial(noise: float, clip: int, scale: Scale, seed: int) -> Trial:
    """Return a trial of figure 4; at smoke scale plain SGD's are those of figures 1 to 3 too."""
    probed = clip == 0 and scale == "smoke"
    return _trial(noise, recipe(clip, scale), HIDDEN[scale], scale, seed, probed=probed)


def _trial(
    noise: float, how: Recipe, hidden: tuple[int, ...], scale: Scale, seed: int, *, probed: bool
) -> Trial:
    probes = Probes(coherence=_SAMPLE[scale], examples=True, null_worlds=WORLDS, every=2)
    return Trial(
        data=data(scale),
        model=Model.named("mlp", hidden=hidden),
        corruption=RandomLabels(probability=noise) if noise else None,
        recipe=how,
        seed=seed,
        probes=probes if probed else None,
    )


def share_trial(noise: float, scale: Scale, seed: int) -> Trial:
    """Return a trial of figures 1 to 3, which follow plain SGD at a learning rate of 0.1.

    At smoke scale it is that of figure 4, at paper scale that of the wide network.
    """
    if scale == "smoke":
        return trial(noise, 0, scale, seed)
    how = Recipe(epochs=170, batch_size=100, lr=0.1, momentum=0.0)
    if scale == "paper":
        return _trial(noise, how, (2048,), scale, seed, probed=True)
    how = replace(how, epochs=SHARE_EPOCHS, evaluate_every=2, stop_at_accuracy=1.0)
    return _trial(noise, how, HIDDEN[scale], scale, seed, probed=True)


def share_noise(scale: Scale) -> tuple[float, ...]:
    """Return the noise levels of figures 1 to 3."""
    return (0.0, HALF, 1.0) if scale == "smoke" else NOISE


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale: what others wait for first."""
    found = [
        Entry(
            trial=share_trial(noise, scale, seed),
            place={"part": "shares", "noise": noise, "clip": 0},
        )
        for seed in seeds
        for noise in share_noise(scale)
    ]
    for noise, clip in sorted(cells(scale), key=lambda cell: (cell[0] != HALF, cell[1] != 2)):
        place = {"part": SOME_DIGITS, "noise": noise, "clip": clip}
        found += [Entry(trial=trial(noise, clip, scale, seed), place=place) for seed in seeds]
    if scale == "small":
        found += [
            Entry(
                trial=trial(HALF, clip, "paper", seed),
                place={"part": ALL_DIGITS, "noise": HALF, "clip": clip},
            )
            for clip in CLIPS
            if clip != 1
            for seed in seeds
        ]
    return found
