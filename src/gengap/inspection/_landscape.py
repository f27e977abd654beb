"""Charts of a trained network: its spectrum, the surface around it, and what rescaling changes."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import pandas as pd
import torch
from torch import nn

from gengap._streams import streams
from gengap.curvature import filter_normalized_plane, spectral_density
from gengap.data import Split
from gengap.measures import MEASURES, Measure
from gengap.report import Axis, Chart, invariances, spectrum, surface
from gengap.risk import Loss, Risk
from gengap.symmetries import invariance

EXAMPLES = 500
COMPARED = (
    *("loss", "squared_norm", "path_norm", "gradient_norm"),
    *("sam", "asam", "average_sharpness", "adaptive_average_sharpness", "fisher_rao_norm"),
)
_PROBES, _STEPS, _SIDE = 4, 30, 15


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Landscape:
    """Charts of a trained network, and why one is missing.

    Attributes:
        charts: What could be drawn.
        missing: The name of a chart that could not, and why, in a sentence.
    """

    charts: Sequence[Chart]
    missing: dict[str, str]


def landscape(
    model: nn.Module,
    split: Split,
    *,
    loss: str | Loss = "cross_entropy",
    own: Sequence[Measure] = (),
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Landscape:
    """Draw the spectral density of the Hessian, the loss around a network, and its invariances.

    At most 500 examples are looked at, drawn once. A chart that cannot be made (no second
    derivative, nothing to rescale) is missing, and the result says why.

    Args:
        model: The network; copied.
        split: The examples, as a rule those it was trained on.
        loss: As of `gengap.Risk`.
        own: Measures of your own, whose invariance is shown beside that of the library's.
        seed: Of the examples and of what the charts draw.
        device: Where to compute the first two; None is where the model is. Invariances are
            measured in float64 where the model is.
        progress: Called with the name of each chart before it is made.

    Returns:
        The charts.

    Cost:
        120 Hessian products, 225 losses, and 8 rescaled networks measured.
    """
    some = _some(split, seed)
    charts: list[Chart] = []
    missing: dict[str, str] = {}
    makers: dict[str, Callable[[], Chart]] = {
        "spectrum": lambda: _spectrum(Risk(model, some, loss=loss, device=device), seed),
        "surface": lambda: _surface(Risk(model, some, loss=loss, device=device), seed),
        "invariances": lambda: _invariances(model, some, loss, seed, own, missing),
    }
    for name, make in makers.items():
        if progress is not None:
            progress(name)
        try:
            charts.append(make())
        except (ValueError, RuntimeError, NotImplementedError) as error:
            missing[name] = str(error).strip().splitlines()[0]
    return Landscape(charts=charts, missing=missing)


def _some(split: Split, seed: int) -> Split:
    if len(split) <= EXAMPLES:
        return split
    order = torch.randperm(len(split), generator=streams(seed)("landscape", "examples"))
    return split[order[:EXAMPLES].sort().values]


def _spectrum(risk: Risk, seed: int) -> Chart:
    p = sum(value.numel() for value in risk.params.values())
    found = spectral_density(risk, probes=_PROBES, steps=min(_STEPS, p), seed=seed)
    frame = found.frame().rename(columns={"eigenvalue": "grid", "low": "lower", "high": "upper"})
    return spectrum(
        frame,
        name="spectrum",
        title="Eigenvalues of the Hessian",
        caption=f"Density on {risk.n:,} examples from {_PROBES} random vectors with "
        f"{min(_STEPS, p)} products each, smoothed by {found.width:.2g}; band: two standard "
        "errors over the vectors.",
    )


def _surface(risk: Risk, seed: int) -> Chart:
    found = filter_normalized_plane(risk, size=_SIDE, seed=seed)
    normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in risk.model.modules())
    own = (
        " BatchNorm's statistics are taken anew from these examples at every point, the network "
        "itself too: its loss here is not that with its running averages."
    )
    return surface(
        found.frame(),
        name="surface",
        x=Axis("x", title="First direction"),
        y=Axis("y", title="Second direction"),
        points={"network": (0.0, 0.0)},
        title="Loss around the network",
        caption=f"Over one random plane whose directions have the norms of the network's filters; "
        f"{risk.n:,} examples. Another plane may look different.{own if normed else ''}",
        equal=True,
    )


def _invariances(
    model: nn.Module,
    split: Split,
    loss: str | Loss,
    seed: int,
    own: Sequence[Measure],
    missing: dict[str, str],
) -> Chart:
    """Draw the library's measures and one's own; one that raises is missing and costs no other."""
    changes = functools.partial(
        invariance, model=model, split=split, loss=loss, sweeps=0, seed=seed
    )
    frames = [changes([MEASURES[name] for name in COMPARED])]
    for measure in own:
        try:
            frames.append(changes(measure))
        except Exception as error:
            missing[measure.name] = f"on rescaled networks: {type(error).__name__}: {error}"
    return invariances(
        pd.concat(frames, ignore_index=True),
        name="invariances",
        title="What changes though the function does not",
        caption=f"Each measure after over before, of the draw that changed it most: units "
        f"permuted, and each unit rescaled by a random factor of up to 100 either way; "
        f"{len(split):,} examples, in float64. Averages over random noise move a little when units "
        "are permuted: the noise falls on other weights.",
    )
