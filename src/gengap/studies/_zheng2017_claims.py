"""The claims of Zheng et al. (2017), each with its rule, written before the trials.

The paper proves and gives no such numbers: what is asked of networks here is ours.
"""

import pandas as pd

from gengap.auditing import EVERY_SEED, verdict
from gengap.report import Claim, Measured

from ._zheng2017_numbers import Numbers
from ._zheng2017_trials import DECAY, PENALTY, PLAIN, SHORTCUTS, Plan

EVERY_FITTED = f"{EVERY_SEED}, whose networks fit their training examples"
MATCHED = 0.01
FITTED = 0.95


def fitted(ends: pd.DataFrame, plan: Plan) -> set[tuple[str, int]]:
    """Return variants and seeds whose networks fit their training examples: only these compare."""
    own = ends[(ends["epochs"] == plan.epochs[-1]) & (ends["train_accuracy"] >= FITTED)]
    return {(str(v), int(s)) for v, s in zip(own["variant"], own["seed"], strict=True)}


def claims(
    numbers: Numbers, plan: Plan, *, among: set[tuple[str, int]] | None = None
) -> list[Claim]:
    """Return the claims, from what was read of the networks of some variants and seeds, or all."""
    end = plan.epochs[-1]
    moments = numbers.moments[numbers.moments["epochs"] == end]
    layers = numbers.layers[numbers.layers["epochs"] == end]
    if among is not None:
        places = zip(layers["variant"], layers["seed"], strict=True)
        layers = layers.loc[[(str(v), int(s)) in among for v, s in places]]
    return [
        _matched(moments),
        _slack(moments),
        _deeper(layers),
        _probe_with_shortcuts(layers),
        *[_independent(layers, variant) for variant in (SHORTCUTS, DECAY, PENALTY)],
    ]


def _of(frame: pd.DataFrame, variant: str, column: str) -> pd.Series:
    own = frame[frame["variant"] == variant]
    return own.set_index("seed")[column].astype(float)


def excess(layers: pd.DataFrame, variant: str) -> pd.Series:
    """Return by seed the mean over layers of correlation above chance."""
    own = layers[layers["variant"] == variant]
    above = own["correlation"].astype(float) - own["chance"].astype(float)
    return above.groupby(own["seed"]).mean()


def probe_losses(layers: pd.DataFrame, variant: str, *, last: bool) -> pd.Series:
    """Return by seed the probe's loss at the first or the last hidden layer."""
    place = layers["layer"].max() if last else 1
    return _of(layers[layers["layer"] == place], variant, "probe_loss")


def _matched(moments: pd.DataFrame) -> Claim:
    own = _of(moments, PLAIN, "relative_residual")
    value = f"{Measured.of(own):.2g}"
    return Claim(
        name="the constraints of maximum entropy hold",
        sentence="After training without regularizers the features' means under labels and "
        f"predictions differ by {value} of their norm.",
        rule=f"At most {MATCHED:g} {EVERY_FITTED}.",
        verdict=verdict([bool(value <= MATCHED) for value in own]),
        paper="softmax regression is the solution under the constraints",
        ours=value,
    )


def _slack(moments: pd.DataFrame) -> Claim:
    plain, decay = (_of(moments, variant, "residual") for variant in (PLAIN, DECAY))
    ratio = (decay / plain).dropna()
    return Claim(
        name="weight decay loosens the constraints",
        sentence=f"With weight decay the moment residual itself, not divided by the norm of the "
        f"features, is {Measured.of(ratio):.1f} times that without.",
        rule=f"Larger with weight decay than without {EVERY_FITTED}.",
        verdict=verdict([bool(value > 1) for value in ratio]),
        ours=f"{Measured.of(ratio):.1f} times",
    )


def _deeper(layers: pd.DataFrame) -> Claim:
    first, last = (probe_losses(layers, PLAIN, last=last) for last in (False, True))
    gain = (first - last).dropna()
    return Claim(
        name="deeper features serve softmax better",
        sentence="Without shortcuts and regularizers a linear probe on the last hidden layer has "
        f"{Measured.of(gain):.3f} nats less of held-out loss than on the first.",
        rule=f"Less on the last hidden layer than on the first {EVERY_FITTED}.",
        verdict=verdict([bool(value > 0) for value in gain]),
        paper="layers approach the first condition recursively",
        ours=f"{Measured.of(gain):.3f} nats",
    )


def _probe_with_shortcuts(layers: pd.DataFrame) -> Claim:
    plain, own = (probe_losses(layers, variant, last=True) for variant in (PLAIN, SHORTCUTS))
    gain = (plain - own).dropna()
    return Claim(
        name="shortcuts help the first condition",
        sentence="The held-out loss of a linear probe on the last hidden layer without shortcuts "
        f"less that with them is {Measured.of(gain):.3f} nats.",
        rule=f"Less with shortcuts than without {EVERY_FITTED}.",
        verdict=verdict([bool(value > 0) for value in gain]),
        paper="shortcuts help",
        ours=f"{Measured.of(gain):.3f} nats",
    )


def _independent(layers: pd.DataFrame, variant: str) -> Claim:
    plain, own = excess(layers, PLAIN), excess(layers, variant)
    change = (own - plain).dropna()
    said = variant.removeprefix("plain, ")
    verb = "help" if variant == SHORTCUTS else "helps"
    return Claim(
        name=f"{said} {verb} the second condition",
        sentence="The mean correlation of two features within a class, above chance and averaged "
        f"over the layers, is {Measured.of(plain):.3f} without and {Measured.of(own):.3f} with "
        f"{said}.",
        rule=f"Less with {said} than without {EVERY_FITTED}.",
        verdict=verdict([bool(value < 0) for value in change]),
        paper="shortcuts help" if variant == SHORTCUTS else "regularizers help",
        ours=f"{Measured.of(change):+.3f}",
    )
