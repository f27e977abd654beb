"""Bias and variance of a network's prediction over training sets and seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from gengap._checks import check_count
from gengap._streams import streams
from gengap.data import Split
from gengap.training import Lane, Packing, Recipe, fit_lanes

from ._outputs import outputs_of

if TYPE_CHECKING:
    import pandas as pd

Builder = Callable[[], nn.Module]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BiasVariance:
    r"""The squared error of a prediction, taken apart.

    Of class labels the prediction is the vector of probabilities and the target the one-hot
    label; of real targets the outputs. All are means over test examples of squared distances.

    Attributes:
        predictions: float64 [sets, seeds, n, c].
        targets: float64 [n, c].
        parameters: Of the network.
        examples: Of one training set.
    """

    predictions: Tensor
    targets: Tensor
    parameters: int
    examples: int

    @property
    def risk(self) -> float:
        """Mean squared distance between prediction and target: bias_squared plus variance."""
        return float((self.predictions - self.targets).square().sum(-1).mean())

    @property
    def variance_over_seeds(self) -> float:
        """Variance over seeds, the training set held; unbiased; NaN for one seed."""
        return self._parts(self.predictions)[1]

    @property
    def variance_over_sets(self) -> float:
        """Variance over training sets of the mean over seeds; unbiased, so that it can be < 0."""
        return self._parts(self.predictions)[0]

    @property
    def variance(self) -> float:
        """Variance of the prediction, over sets and seeds together; unbiased."""
        within = self.variance_over_seeds
        return self.variance_over_sets + (0.0 if math.isnan(within) else within)

    @property
    def bias_squared(self) -> float:
        """Squared distance of the mean prediction to the target; unbiased, noise of labels in it.

        The distance of the mean over finitely many runs is too large by the variance of that
        mean, which is taken off.
        """
        return self.risk - self.variance

    @property
    def standard_error(self) -> tuple[float, float]:
        """Of bias_squared and variance, by leaving out one training set after the other."""
        k = len(self.predictions)
        if k < 3:
            return math.nan, math.nan
        found = torch.tensor([self._without(i) for i in range(k)], dtype=torch.float64)
        errors = ((k - 1) * found.var(0, correction=0)).sqrt()
        return float(errors[0]), float(errors[1])

    @property
    def sentence(self) -> str:
        """Say how much of the squared error is bias, and how much variance."""
        bias_error, variance_error = self.standard_error
        return (
            f"Of a squared error of {self.risk:.3g}, {self.bias_squared:.3g} (standard error "
            f"{bias_error:.1g}) is squared bias and {self.variance:.3g} ({variance_error:.1g}) "
            "variance."
        )

    def _without(self, i: int) -> tuple[float, float]:
        kept = torch.arange(len(self.predictions)) != i
        rest = self.predictions[kept]
        between, within = self._parts(rest)
        variance = between + (0.0 if math.isnan(within) else within)
        risk = float((rest - self.targets).square().sum(-1).mean())
        return risk - variance, variance

    @staticmethod
    def _parts(predictions: Tensor) -> tuple[float, float]:
        """Return the variance between sets and within them."""
        seeds = predictions.shape[1]
        between = float(predictions.mean(1).var(0).sum(-1).mean())
        if seeds == 1:
            return between, math.nan
        within = float(predictions.var(1).sum(-1).mean())
        return between - within / seeds, within

    def __repr__(self) -> str:
        sets, seeds, n, _ = self.predictions.shape
        return (
            f"BiasVariance(bias_squared={self.bias_squared:.4g}, variance={self.variance:.4g}, "
            f"sets={sets}, seeds={seeds}, n={n})"
        )


def bias_variance(
    build: Builder,
    pool: Split,
    test: Split,
    *,
    examples: int,
    sets: int = 5,
    seeds: int = 2,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: str = "auto",
    packing: Packing | None = None,
) -> BiasVariance:
    r"""Estimate bias and variance by training on several sets from several seeds.

    $E \|f - y\|^2 = \|E f - y\|^2 + E \|f - E f\|^2$, and the variance is that over sets plus the
    mean over sets of that over seeds. All parts are unbiased over draws of sets and seeds; their
    error falls as one over the root of the sets.

    Args:
        build: Makes a fresh network.
        pool: Where training sets are drawn from: disjoint ones, so that they are independent.
        test: Where predictions are compared.
        examples: Of one training set.
        sets: Training sets; at least 2.
        seeds: Of initial weights and batches, for each set; one leaves the parts together.
        recipe: How to train; None takes the defaults.
        seed: Of the sets and the seeds.
        device: "auto", "cpu" or "cuda".
        packing: As of `gengap.fit_lanes`.

    Raises:
        ValueError: The pool does not hold so many disjoint sets.

    Cost:
        `sets` times `seeds` training runs, as lanes.

    Source:
        Geman, Bienenstock and Doursat (1992); Neal et al. (2018), arXiv:1810.08591; Yang et al.
        (2020), arXiv:2002.11328.
    """
    for name, value, least in (("examples", examples, 1), ("sets", sets, 2), ("seeds", seeds, 1)):
        check_count(name, value, least=least)
    if sets * examples > len(pool):
        raise ValueError(
            f"`pool` must hold {sets} disjoint sets of {examples} examples, {sets * examples}; got "
            f"{len(pool)}."
        )
    order = torch.randperm(len(pool), generator=streams(seed)("training sets"))
    parts = [pool[order[k * examples : (k + 1) * examples]] for k in range(sets)]
    lanes = [
        Lane(split=part, seed=seed + k * seeds + j) for k, part in enumerate(parts)
        for j in range(seeds)
    ]  # fmt: skip
    runs = fit_lanes(build, lanes, recipe=recipe, device=device, packing=packing)
    found = torch.stack([_prediction(run.model, test) for run in runs])
    return BiasVariance(
        predictions=found.view(sets, seeds, *found.shape[1:]),
        targets=_targets(test),
        parameters=sum(p.numel() for p in runs[0].model.parameters()),
        examples=examples,
    )


def bias_variance_curve(
    builders: Sequence[tuple[str | int, Builder]], pool: Split, test: Split, **how: object
) -> "pd.DataFrame":
    """Estimate bias and variance of several networks, such as of growing width.

    Args:
        builders: Pairs of a name, such as the width, and a builder.
        pool: As of `bias_variance`.
        test: As of `bias_variance`.
        **how: The other arguments of `bias_variance`.

    Returns:
        A row a network: name, parameters, ratio (parameters over examples), risk, bias_squared,
        variance, variance_over_sets, variance_over_seeds, bias_error, variance_error.
    """
    import pandas as pd

    rows = []
    for name, build in builders:
        found = bias_variance(build, pool, test, **how)  # type: ignore[arg-type]
        bias_error, variance_error = found.standard_error
        rows.append({
            "name": name,
            "parameters": found.parameters,
            "ratio": found.parameters / found.examples,
            "risk": found.risk,
            "bias_squared": found.bias_squared,
            "variance": found.variance,
            "variance_over_sets": found.variance_over_sets,
            "variance_over_seeds": found.variance_over_seeds,
            "bias_error": bias_error,
            "variance_error": variance_error,
        })
    return pd.DataFrame(rows)


def _prediction(model: nn.Module, test: Split) -> Tensor:
    outputs = outputs_of(model, test).double()
    return outputs if test.num_classes is None else outputs.softmax(1)


def _targets(test: Split) -> Tensor:
    targets = test.targets.cpu()
    if test.num_classes is None:
        return targets.double()
    return torch.nn.functional.one_hot(targets, test.num_classes).double()
