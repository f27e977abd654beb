"""Whether a few examples together have the gradients that each of them has alone."""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _pytree as pytree

from ._batch import Batch
from ._draws import Draws
from ._example_axes import Places
from ._intercept import bare, intercepted
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan
from ._recorder import Recorder
from ._trial import Arguments, aside

_SAME, _ROUNDING = 1e-2, 1e-9
"""Shares of a squared norm, a parameter's and the whole gradient's, by which two may differ."""


def few(examples: int, *, ordered: bool, every: bool) -> list[int]:
    """Return which of so many examples are compared: in no order, or in that of the batch."""
    others = range(examples) if every else ()
    chosen = list(dict.fromkeys([examples // 2, 0, examples - 1, 1, *others]))
    return sorted(chosen) if ordered else chosen


def gradients_agree(
    module: nn.Module,
    together: Arguments,
    alone: Sequence[Arguments],
    places: Places,
    common: Set[str],
    *,
    fixed: Set[int],
) -> bool | None:
    """Say whether examples have the squared norms that each has alone; None where nobody can.

    The outputs are multiplied with noise. Parameters that are zero have other values, so that
    they hide nothing.

    Args:
        module: The module that is called.
        together: What it is called with, a few examples.
        alone: The same for each of them.
        places: Where the examples are in its layers.
        common: Names of modules whose values are the same for all examples. Where there are any,
            they must meet the examples, and all gradients must be known by example; else those
            that autograd has a part of are not looked at. A model that returns nothing but a
            loss, a sum or a mean over the examples, is compared then, too.
        fixed: The ids of tensors in the arguments that hold no examples.
    """
    hooked = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
    if hooked and not common:  # as within a checkpoint: modules in one piece take none
        return None
    values = {name: _shown(p) for name, p in module.named_parameters() if p.requires_grad}
    recorder = _Norms(examples=len(alone))
    known: dict[str, Any] = {
        "names": {id(value): name for name, value in values.items()},
        "axes": {name: axis for name, axis in places.axes.items() if axis},
        "folds": dict(places.folds),
        "common": common,
        "fixed": fixed,
    }
    with _swapped(module, values), torch.enable_grad(), no_hooks():
        losses = bool(common)
        found = _alone(module, together, alone, values, losses=losses)
        if found is None:
            return None
        rows, wanted = found
        try:
            with intercepted(module, recorder, **known):
                beside = _gradients(
                    module, together, values, range(len(alone)), rows, of=len(alone),
                    losses=losses, recorder=recorder,
                )  # fmt: skip
                recorder.finish()
        except Exception as error:
            if isinstance(error, ValueError) and not common:
                raise ValueError(f"{error} Tried on {len(alone)} of the examples.") from error
            return False if common else None
    if beside is None:
        return False if common else None
    left = {name for name, g in beside.items() if g is not None and bool(g.any())}
    if common and (left or not recorder.batch.common):
        return False
    seen = recorder.squared_norms
    names = set(values) if common else set(seen) - left
    nothing = torch.zeros(len(alone), dtype=torch.float64)
    share, least = _share(values), _ROUNDING * sum(wanted.values())

    def near(factor: int) -> bool:
        return all(
            bool(((seen.get(k, nothing) * factor - norms).abs() <= share * norms + least).all())
            for k, norms in wanted.items()
            if k in names
        )

    only_losses = all(shape is None for shape in rows)
    return near(1) or (only_losses and near(len(alone) ** 2))  # as a mean of losses has it


def _alone(
    module: nn.Module,
    together: Arguments,
    alone: Sequence[Arguments],
    values: Mapping[str, Tensor],
    *,
    losses: bool,
) -> tuple[list[torch.Size | None], dict[str, Tensor]] | None:
    """Return the shapes of the rows to look at, and each parameter's squared norms by example.

    None where the module draws, or gives no numbers.
    """
    try:
        with bare(module):
            pairs = zip(_rows(module, together), _rows(module, alone[0]), strict=True)
            rows = [several if several == one else None for several, one in pairs]
            tried = [
                _gradients(module, one, values, [i], rows, of=len(alone), losses=losses)
                for i, one in enumerate(alone)
            ]
    except Exception:  # whatever the user's code makes of one example
        return None
    found = [one for one in tried if one is not None]
    if len(found) < len(tried):
        return None
    norms = {name: torch.stack([_square(one[name]) for one in found]) for name in values}
    return (rows, norms) if all(bool(n.isfinite().all()) for n in norms.values()) else None


def no_hooks() -> AbstractContextManager[object]:
    """Keep what is saved for the backward pass from hooks around the call, as a checkpoint's."""
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is None:
        return nullcontext()
    return saved_tensors_hooks(lambda value: value, lambda value: value)


def _shown(p: Tensor) -> Tensor:
    """Return a parameter as a leaf of its own, with values that hide nothing."""
    if p.any():
        return p.detach().requires_grad_()
    wave = torch.arange(p.numel(), dtype=torch.float32, device=p.device).sin() / 8
    return wave.view(p.shape).to(p.dtype).requires_grad_()


def _share(values: Mapping[str, Tensor]) -> float:
    """Return by which share squared norms may differ in this precision."""
    eps = max(torch.finfo(value.dtype).eps for value in values.values())
    kind = next(iter(values.values())).device.type
    if torch.is_autocast_enabled(kind):
        eps = max(eps, torch.finfo(torch.get_autocast_dtype(kind)).eps)
    return max(_SAME, 32 * eps)


def _square(gradient: Tensor | None) -> Tensor:
    if gradient is None:
        return torch.zeros((), dtype=torch.float64)
    return gradient.to_dense().double().square().sum().cpu()


def _rows(module: nn.Module, arguments: Arguments) -> list[torch.Size | None]:
    """Return the shapes of the rows of what a module returns; None of a number."""
    with aside(module), torch.no_grad():
        outputs = module(*arguments[0], **arguments[1])
    return [
        t.shape[1:] if t.ndim else None
        for t in pytree.tree_leaves(outputs)
        if isinstance(t, Tensor)
    ]


def _gradients(
    module: nn.Module,
    arguments: Arguments,
    values: Mapping[str, Tensor],
    chosen: Sequence[int],
    shapes: Sequence[torch.Size | None],
    *,
    of: int,
    losses: bool,
    recorder: OnePart | None = None,
) -> dict[str, Tensor | None] | None:
    """Differentiate the outputs that have a row an example, times noise; None if it draws.

    Rows that have another shape where there are more examples, as all similarities, have None.
    Where nothing has a row an example, the numbers that it returns, if those are asked for.
    """
    draw = torch.Generator().manual_seed(2)
    total: Tensor | float = 0.0
    with aside(module):
        draws = Draws(module)
        outputs = module(*arguments[0], **arguments[1])
        if draws.moved():
            return None
        tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
        for leaf, shape in zip(tensors, shapes, strict=True):
            if shape is None:
                continue
            weights = torch.randn((of, *shape), generator=draw, dtype=torch.float64)[chosen]
            if leaf.requires_grad and leaf.shape == weights.shape:
                total = total + (leaf * weights.to(leaf)).sum()
        if losses and not isinstance(total, Tensor):
            total = sum(leaf for leaf in tensors if leaf.ndim == 0 and leaf.requires_grad)
        if not isinstance(total, Tensor):
            return None
        if recorder is not None:
            recorder.differentiates(total)
        found = torch.autograd.grad(total, list(values.values()), allow_unused=True)
    return {name: _with_inner(g, v) for (name, v), g in zip(values.items(), found, strict=True)}


def _with_inner(gradient: Tensor | None, value: Tensor) -> Tensor | None:
    """Return a gradient with what a pass within the backward pass has added to `.grad`."""
    inner, value.grad = value.grad, None
    return gradient if inner is None else inner if gradient is None else gradient + inner


@contextmanager
def _swapped(module: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other tensors in the place of parameters, in all their places."""
    held = {id(p): values[name] for name, p in module.named_parameters() if name in values}
    places = [
        (part._parameters, slot, p)
        for part in module.modules()
        for slot, p in part._parameters.items()
        if id(p) in held
    ]
    try:
        for slots, slot, p in places:
            slots[slot] = held[id(p)]  # type: ignore[assignment]
        yield
    finally:
        for slots, slot, p in places:
            slots[slot] = p


@final
class _Norms(OnePart):
    """Keeps squared norms of what the pass from the outputs gives; refuses as a meter does."""

    takes_tokens = True

    def __init__(self, examples: int) -> None:
        super().__init__(Plan())
        self.start(examples)
        self.batch: Batch = Batch(examples)
        self.squared_norms: dict[str, Tensor] = {}

    def refused(self, module: str, why: str) -> None:
        Recorder.refused(self, module, why)

    def take(self, name: str, part: Part) -> None:
        self.squared_norms[name] = part.squared_norms().cpu()
