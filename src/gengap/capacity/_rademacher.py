"""Empirical Rademacher complexity of a network, by training it on random signs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor, nn

from gengap._checks import check_choice, check_count, check_probability
from gengap.data import Split
from gengap.training import Lane, Packing, Recipe, build_seeded, fit_lanes

from ._bound import said, tail
from ._linear_class import draw_signs
from ._outputs import outputs_of

Functions = Literal["signs", "values"]
Supremum = Callable[[Tensor, Tensor], Tensor]
_TARGET = 1e4


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Rademacher:
    """A lower bound on the empirical Rademacher complexity, with how it was found.

    Attributes:
        correlations: What training reached for every draw of the signs, float64 [k].
        suprema: Upper bounds on what it could have reached, float64 [k]; NaN where none is known.
        functions: "signs" or "values".
        n: Examples.
        confidence: Of `lower` and `gap_bound`.
    """

    correlations: Tensor
    suprema: Tensor
    functions: Functions
    n: int
    confidence: float = 0.95

    @property
    def value(self) -> float:
        """Mean correlation with the signs: the estimate, biased downwards by the training."""
        return float(self.correlations.mean())

    @property
    def standard_error(self) -> float:
        """Of the value, over draws of the signs; NaN for one draw."""
        k = len(self.correlations)
        return float(self.correlations.std()) / k**0.5 if k > 1 else math.nan

    @property
    def optimization_gap(self) -> float:
        """By how much training can have missed the suprema, on average; NaN if not known."""
        return float((self.suprema - self.correlations).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """From the value less 1.96 standard errors to the mean supremum plus as much.

        NaN above where no supremum is known.
        """
        spread = 1.96 * self.standard_error
        return self.value - spread, self.value + self.optimization_gap + spread

    @property
    def lower(self) -> float:
        """A lower bound on the complexity itself, which holds with `confidence`; for signs.

        One sign moves the supremum by at most 2 / n, so that a mean over k draws lies above its
        expectation by less than sqrt(2 ln(1 / delta) / (k n)) (McDiarmid).
        """
        if self.functions == "values":
            return math.nan
        draws = len(self.correlations) * self.n
        return self.value - math.sqrt(2 * math.log(1 / (1 - self.confidence)) / draws)

    @property
    def gap_bound(self) -> float:
        """The bound on the gap that this complexity gives, or would give if it were no larger.

        Complexity plus 3 sqrt(ln(2 / delta) / (2 n)) for the share of errors of signs; twice the
        complexity for a loss in [0, 1] that follows values no faster than they change.
        """
        factor = 1 if self.functions == "signs" else 2
        return factor * self.value + tail(self.n, self.confidence)

    @property
    def vacuous(self) -> bool:
        """Whether every bound on the gap from this complexity is at least 1."""
        return not self.gap_bound < 1

    @property
    def sentence(self) -> str:
        """Say what was found, and whether a bound from it says anything."""
        found = f"The empirical Rademacher complexity is at least {self.value:.3f}"
        if self.functions == "signs":
            found += " of at most 1"
        what = "any bound on the gap from it"
        return f"{found}; {said(what, self.gap_bound)}"

    def __repr__(self) -> str:
        error = f"{self.standard_error:.2g}"
        return f"Rademacher({self.value:.4g}, standard_error={error}, n={self.n})"


def rademacher(
    build: Callable[[], nn.Module],
    split: Split,
    *,
    draws: int = 8,
    functions: Functions = "signs",
    supremum: Supremum | None = None,
    recipe: Recipe | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    packing: Packing | None = None,
) -> Rademacher:
    r"""Estimate the empirical Rademacher complexity of a network by training on random signs.

    $\hat R = E_\sigma \sup_f \frac1n \sum_i \sigma_i f(x_i)$

    Draws signs, trains the network to agree with them, and takes the correlation it reaches: of
    every draw a lower bound on the supremum. So the value is biased downwards by what training
    misses; its standard error falls as one over the root of the draws. The labels of the split
    are not used.

    Args:
        build: Makes a fresh network. For "signs", of two outputs or more, of which the first two
            are used; for "values", of one output.
        split: The examples.
        draws: Draws of the signs.
        functions: "signs": functions to {-1, 1}, which output is the larger, in [-1, 1].
            "values": the output itself, for a network that is bounded as it is built, such as
            one of `bounded`; without bounds the supremum is infinite.
        supremum: Maps signs [k, n] and examples [n, ...] to the exact suprema [k], or upper
            bounds on them; None takes 1 for signs and knows nothing of values.
        recipe: How to train. None: for signs, SGD at 0.01 in batches of 32 up to 400 epochs,
            until all signs are right; for values, 100 full batches. The loss of the recipe is
            replaced where it does not fit.
        confidence: Of the bounds, in (0, 1).
        seed: Of signs, initial weights, and batches.
        device: "auto", "cpu" or "cuda".
        packing: As of `gengap.fit_lanes`.

    Returns:
        The estimate, with its standard error, optimization gap and what it means for bounds.

    Raises:
        ValueError: The network does not have the outputs, or does not fit the examples.

    Cost:
        `draws` training runs, as lanes.

    Source:
        Zhang et al. (2017), arXiv:1611.03530, section 2.2; Bartlett and Mendelson (2002).
    """
    check_count("draws", draws)
    check_choice("functions", functions, ("signs", "values"))
    check_probability("confidence", confidence)
    signs = draw_signs(len(split), draws, seed)
    width = _outputs(build, split, functions, seed)
    lanes = [
        Lane(split=_labelled(split, row, width, functions), seed=seed + k)
        for k, row in enumerate(signs)
    ]
    recipe = _recipe(recipe, functions, n=len(split))
    runs = fit_lanes(build, lanes, recipe=recipe, device=device, packing=packing)
    reached = torch.stack([
        _correlation(run.model, split, row, functions) for run, row in zip(runs, signs, strict=True)
    ])
    return Rademacher(
        correlations=reached,
        suprema=_suprema(supremum, signs, split, functions),
        functions=functions,
        n=len(split),
        confidence=confidence,
    )


def _outputs(build: Callable[[], nn.Module], split: Split, functions: Functions, seed: int) -> int:
    outputs = outputs_of(build_seeded(build, seed).eval(), split[:1])
    width = outputs.shape[1] if outputs.ndim == 2 else 0
    fits = width >= 2 if functions == "signs" else width == 1
    if not fits:
        wanted = "two outputs or more" if functions == "signs" else "one output"
        raise ValueError(
            f"`build` must make a network of {wanted} for functions={functions!r}; got outputs of "
            f"shape {tuple(outputs.shape)} for one example."
        )
    return int(width)


def _labelled(split: Split, signs: Tensor, width: int, functions: Functions) -> Split:
    """Return the examples with the signs as targets."""
    if functions == "signs":
        targets, classes = (signs + 1) // 2, width
    else:
        targets, classes = _TARGET * signs.float()[:, None], None
    names = {"class_names": None, "changed": None, "true_targets": None}
    return replace(split, targets=targets, num_classes=classes, **names)  # type: ignore[arg-type]


def _recipe(recipe: Recipe | None, functions: Functions, *, n: int) -> Recipe:
    """Return the recipe with the loss that the functions need.

    Half the squared distance to c times the sign is, but for a constant, -c times sign times
    value plus half the value squared, which is nothing beside it: c is 10,000.
    """
    if functions == "signs":
        if recipe is None:
            return Recipe(epochs=400, batch_size=32, lr=0.01, stop_at_accuracy=1.0)
        return replace(recipe, loss="cross_entropy")
    if recipe is None:
        return Recipe(
            epochs=100, batch_size=n, lr=1.0 / _TARGET, loss="squared_error", evaluate_every=100
        )
    return replace(recipe, loss="squared_error", lr=recipe.lr / _TARGET)


def _correlation(model: nn.Module, split: Split, signs: Tensor, functions: Functions) -> Tensor:
    """Return the mean of sign times function, float64 []."""
    outputs = outputs_of(model, split)
    values = outputs[:, 0]
    if functions == "signs":
        values = torch.where(outputs[:, 1] > outputs[:, 0], 1.0, -1.0)
    return (signs * values.double()).mean()


def _suprema(
    supremum: Supremum | None, signs: Tensor, split: Split, functions: Functions
) -> Tensor:
    if supremum is not None:
        return supremum(signs, split.batch()[0]).double()
    known = 1.0 if functions == "signs" else math.nan
    return torch.full((len(signs),), known, dtype=torch.float64)
