"""Stability by retraining: the sample without an example, or with another in its place."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from gengap._checks import check_count, check_probability
from gengap._right import is_right
from gengap._streams import derive_seed, streams
from gengap.data import Source, Split
from gengap.risk import Loss, find_loss
from gengap.training import Lane, Packing, Recipe, Run, fit_lanes

from ._outputs import outputs_of
from ._stability import Kind, Stability

Builder = Callable[[], nn.Module]
Examples = int | Sequence[int]


def leave_one_out(
    build: Builder,
    split: Split,
    *,
    examples: Examples = 200,
    test: Split | None = None,
    recipe: Recipe | None = None,
    loss: str | Loss = "error",
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    packing: Packing | None = None,
) -> Stability:
    r"""Retrain without single examples.

    $\ell(A(S^{-i}), z_i) - \ell(A(S), z_i)$ for every chosen i.

    All runs start from the same initial weights. A run on n - 1 examples cannot have the batches
    of one on n, so that a part of each change is that of another order: `seed_shift` says how
    large such changes are when nothing is left out and the seed is another.

    Args:
        build: Makes a fresh network.
        split: The sample S.
        examples: How many to leave out, drawn without replacement, or their indices.
        test: Other examples, for the gap and for changes elsewhere; None takes the sample alone.
        recipe: How to train; None takes the defaults.
        loss: "error" (0 or 1), "cross_entropy", "squared_error", or a function, as of `Risk`.
        confidence: Of the bound, in (0, 1).
        seed: Of initial weights, batches, and the choice of examples.
        device: "auto", "cpu" or "cuda".
        packing: As of `gengap.fit_lanes`.

    Returns:
        The changes, and the stabilities and the bound that follow.

    Raises:
        ValueError: There are not so many examples, or network, data and recipe do not fit.

    Cost:
        `examples` + 2 training runs, as lanes.

    Source:
        Bousquet and Elisseeff (2002), Stability and generalization.
    """
    chosen = _chosen(examples, len(split), seed)
    if len(split) < 2:
        raise ValueError("`split` must hold two examples or more to leave one out; got 1.")
    others = [split[torch.arange(len(split)) != i] for i in chosen.tolist()]
    how = _How(build=build, recipe=recipe, seed=seed, device=device, packing=packing)
    return _stability(
        "leave-one-out", how, split, others, chosen, test=test, loss=loss, confidence=confidence
    )


def replace_one(
    build: Builder,
    split: Split,
    fresh: Split,
    *,
    examples: Examples = 200,
    test: Split | None = None,
    recipe: Recipe | None = None,
    loss: str | Loss = "error",
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    packing: Packing | None = None,
) -> Stability:
    r"""Retrain with single examples replaced by fresh ones.

    $\ell(A(S^{(i)}), z_i) - \ell(A(S), z_i)$ for every chosen i, where $S^{(i)}$ has a fresh
    example in the place of $z_i$. Its mean over samples is the expected generalization gap. All
    runs share initial weights and the order of the batches: nothing but the example differs.

    Args:
        build: As of `leave_one_out`.
        split: The sample S.
        fresh: Examples from the same source that are not in the sample; the k-th one chosen is
            replaced by the k-th of these.
        examples: How many to replace, drawn without replacement, or their indices.
        test: As of `leave_one_out`.
        recipe: As of `leave_one_out`.
        loss: As of `leave_one_out`.
        confidence: As of `leave_one_out`.
        seed: As of `leave_one_out`.
        device: As of `leave_one_out`.
        packing: As of `leave_one_out`.

    Raises:
        ValueError: There are not so many examples, or not so many fresh ones.

    Cost:
        `examples` + 2 training runs, as lanes.

    Source:
        Bousquet and Elisseeff (2002), Stability and generalization; Shalev-Shwartz et al. (2010),
        Learnability, stability and uniform convergence.
    """
    chosen = _chosen(examples, len(split), seed)
    if len(fresh) < len(chosen):
        raise ValueError(
            f"`fresh` must hold an example for each of the {len(chosen)} replaced; got "
            f"{len(fresh)}."
        )
    others = [_swapped(split, i, fresh, k) for k, i in enumerate(chosen.tolist())]
    how = _How(build=build, recipe=recipe, seed=seed, device=device, packing=packing)
    return _stability(
        "replace-one", how, split, others, chosen, test=test, loss=loss, confidence=confidence
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _How:
    """How the runs are trained."""

    build: Builder
    recipe: Recipe | None
    seed: int
    device: str
    packing: Packing | None

    def runs(self, splits: Sequence[Split]) -> list[Run]:
        """Train on every split, and on the first once more from another seed."""
        other = derive_seed(self.seed, "another seed") % 2**31
        lanes = [Lane(split=split, seed=self.seed) for split in splits]
        lanes.append(Lane(split=splits[0], seed=other))
        return fit_lanes(
            self.build, lanes, recipe=self.recipe, device=self.device, packing=self.packing
        )


def _chosen(examples: Examples, n: int, seed: int) -> Tensor:
    if isinstance(examples, int):
        check_count("examples", examples)
        if examples > n:
            raise ValueError(f"`examples` must be at most the {n} of the split; got {examples}.")
        order = torch.randperm(n, generator=streams(seed)("stability"))
        return order[:examples].sort().values
    chosen = torch.as_tensor(list(examples))
    if (
        not len(chosen)
        or chosen.is_floating_point()
        or not bool(((chosen >= 0) & (chosen < n)).all())
    ):
        raise ValueError(f"`examples` must be indices from 0 to {n - 1}; got {list(examples)}.")
    return chosen


def _swapped(split: Split, i: int, fresh: Split, k: int) -> Split:
    """Return the split with the k-th fresh example in the place of its i-th."""
    if isinstance(split.inputs, Source) or isinstance(fresh.inputs, Source):
        raise ValueError("`split` and `fresh` must be in memory to replace examples; load them.")
    if split.preprocessing != fresh.preprocessing or split.num_classes != fresh.num_classes:
        raise ValueError("`fresh` must have the preprocessing and the classes of `split`.")
    swapped = {
        name: getattr(split, name).clone()
        for name in ("inputs", "targets", "changed", "true_targets")
    }
    for name, values in swapped.items():
        values[i] = getattr(fresh, name)[k]
    return replace(split, **swapped)


def _stability(
    kind: Kind,
    how: _How,
    split: Split,
    others: Sequence[Split],
    chosen: Tensor,
    *,
    test: Split | None,
    loss: str | Loss,
    confidence: float,
) -> Stability:
    check_probability("confidence", confidence)
    measure = _error if loss == "error" else find_loss(loss)
    if loss == "error" and split.num_classes is None:
        raise ValueError("`loss` must be 'squared_error' or a function for real targets.")
    base, *runs, reseeded = how.runs([split, *others])
    places = [split] if test is None else [split, test]

    def losses(run: Run) -> list[Tensor]:
        return [_losses(run, place, measure) for place in places]

    before = losses(base)
    changes, shifts, peaks = [], [], []
    for i, run in zip(chosen.tolist(), runs, strict=True):
        after = losses(run)
        moved = (torch.cat(after) - torch.cat(before)).abs()
        changes.append(after[0][i] - before[0][i])
        shifts.append(moved.mean())
        peaks.append(moved.max())
    again = (torch.cat(losses(reseeded)) - torch.cat(before)).abs()
    ended = {run.reason for run in [base, *runs, reseeded] if run.status == "diverged"}
    return Stability(
        kind=kind,
        indices=chosen,
        changes=torch.stack(changes),
        shifts=torch.stack(shifts),
        peaks=torch.stack(peaks),
        seed_shift=float(again.mean()),
        gap=float(before[1].mean() - before[0].mean()) if test is not None else math.nan,
        n=len(split),
        largest=1.0 if loss == "error" else math.nan,
        confidence=confidence,
        reasons=sorted(ended),
    )


def _losses(run: Run, split: Split, loss: Loss) -> Tensor:
    """Return the losses of all examples, float64 [n]."""
    return loss(outputs_of(run.model, split).double(), split.targets.cpu()).double()


def _error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the largest output is not that of the label, [n]."""
    return (~is_right(outputs, targets)).double()
