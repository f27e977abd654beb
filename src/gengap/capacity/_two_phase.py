"""Activation pattern from one part of the examples, path weights from the rest."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import nn

from gengap._checks import check_positive
from gengap._streams import streams
from gengap.data import Split
from gengap.models import FrozenActivations
from gengap.training import Recipe, Run, build_seeded, fit

from ._bound import Bound
from ._paths import largest_feature_norm_squared, layers_of, path_norm_squared


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TwoPhase:
    """A network trained in two phases.

    Attributes:
        first: The run on the first part, ordinary training.
        second: The run on the rest, with the pattern frozen; its model is `FrozenActivations`.
        first_part: Examples of the first phase.
        rest: Examples of the second, which the pattern has not seen.
    """

    first: Run = field(repr=False)
    second: Run = field(repr=False)
    first_part: Split
    rest: Split


def fit_two_phase(
    build: Callable[[], nn.Module],
    split: Split,
    *,
    share: float,
    test: Split | None = None,
    recipe: Recipe | None = None,
    second_recipe: Recipe | None = None,
    seed: int = 0,
    device: str = "auto",
) -> TwoPhase:
    """Train on a share of the examples, freeze which units are on, train the weights on the rest.

    Given the frozen pattern, the network is linear in its path weights over features that do not
    depend on the examples of the second phase, so that bounds for linear models hold for it:
    `two_phase_bound`.

    Args:
        build: Makes a fresh network, of layers that `FrozenActivations` takes.
        split: The examples; which go where is drawn from the seed.
        share: Share of the first phase, between 0 and 1.
        test: What to test on after every epoch, or None.
        recipe: Of the first phase; None takes the defaults.
        second_recipe: Of the second; None takes the first's.
        seed: Root of every draw.
        device: "auto", "cpu" or "cuda".

    Source:
        Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468, two-phase training. Our second
        phase starts from the first's weights and sees the rest alone.
    """
    cut = round(share * len(split)) if 0 < share < 1 else 0
    if not 0 < cut < len(split):
        raise ValueError(
            "`share` must lie between 0 and 1 and leave examples on both sides; got "
            f"{share!r} of {len(split)}."
        )
    order = torch.randperm(len(split), generator=streams(seed)("two-phase"))
    part, rest = split[order[:cut].sort().values], split[order[cut:].sort().values]
    FrozenActivations(build_seeded(build, seed))  # refuses before the training
    first = fit(build, part, test=test, recipe=recipe, seed=seed, device=device)
    frozen = FrozenActivations(copy.deepcopy(first.model))
    second = fit(
        frozen, rest, test=test, recipe=second_recipe or recipe, seed=seed + 1, device=device
    )
    return TwoPhase(first=first, second=second, first_part=part, rest=rest)


def two_phase_bound(
    model: FrozenActivations, rest: Split, *, radius: float | None = None, confidence: float = 0.95
) -> Bound:
    r"""Bound the gap of squared loss of a perceptron with a frozen pattern.

    With m examples that the pattern has not seen, $\|z\|^2 \le C$ for path features of inputs
    within the radius, and $\|y\| \le Y$, with probability $1 - \delta$ for all path weights:

    $$R - R_S \le \Big( 2 Y \sqrt{C} \|\bar w\| + C \|\bar w\|^2 \Big)
      \frac{1 + \sqrt{2 \ln(3 / \delta)}}{\sqrt{m}} + c_y,$$

    as means of m independent vectors no longer than B lie within
    $B (1 + \sqrt{2 \ln(1 / \delta)}) / \sqrt{m}$ of their expectation, here v and G. $c_y$ is 0
    for one-hot targets, else at most $Y^2 \sqrt{\ln(3 / \delta) / (2 m)}$. Data-dependent
    through the norm of the path weights; usually vacuous, since C grows as the product of the
    widths.

    Args:
        model: Trained on `rest` with its pattern frozen.
        rest: The examples of the second phase.
        radius: Norm that no input exceeds; None takes the longest of `rest`, which then is an
            assumption on the others.
        confidence: Probability 1 - delta with which it holds, in (0, 1).

    Returns:
        A bound in squared distance, for which 1 is the risk of predicting 0.

    Source:
        The data-dependent bound of Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468,
        with concentration of vectors by bounded differences in the place of theirs.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie between 0 and 1; got {confidence!r}.")
    gates, layers = layers_of(model)
    if radius is None:
        radius = max(float(x.flatten(1).double().norm(dim=1).max()) for x, _ in rest.batches(1000))
    check_positive("radius", radius)
    log, m = math.log(3 / (1 - confidence)), len(rest)
    feature = largest_feature_norm_squared(gates, radius)
    weight = math.sqrt(path_norm_squared(layers))
    target = 1.0 if rest.num_classes else float(rest.targets.double().flatten(1).norm(dim=1).max())
    terms = 2 * target * math.sqrt(feature) * weight + feature * weight**2
    value = terms * (1 + math.sqrt(2 * log)) / math.sqrt(m)
    value += 0.0 if rest.num_classes else target**2 * math.sqrt(log / (2 * m))
    return Bound(
        name="two-phase",
        value=value,
        complexity=weight,
        units="norm of path weights",
        confidence=confidence,
        source="Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468",
        note="on the gap of squared distance",
    )
