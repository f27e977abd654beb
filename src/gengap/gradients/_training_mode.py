"""Whether a model mixes its examples in training mode, in which the trials do not run it."""

import copy
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ._draws import Draws
from ._entries import Entries
from ._gradient_check import no_hooks
from ._intercept import bare
from ._trial import Arguments, aside

_SAME = 1e-3
"""Share of the largest output by which an example's may differ, for another order of sums."""
_ATTENTION = torch.nn.functional.scaled_dot_product_attention


def check_no_mixing_in_training(
    module: nn.Module, together: Arguments, alone: Sequence[Arguments]
) -> None:
    """Require that examples have the outputs in training mode which each of them has alone.

    A copy is called, without dropout. Where it draws in another way, or returns other things in
    evaluation mode, nobody can tell; what mixes them in that mode, too, is not looked at.

    Args:
        module: The module that is called.
        together: What it is called with, a few examples.
        alone: The same for each of them.

    Raises:
        ValueError: They have not; the sentence says what to do.
    """
    if any(part.training for part in module.modules()) and _mixes(module, together, alone):
        raise ValueError(
            "`model` must not mix the examples of a batch, but in training mode a few of them "
            "together have other outputs than each alone, as by statistics of the batch: call "
            "`.eval()` on the layers that do so, or take gengap.gradients.minibatch_coherence, "
            "which measures whole batches."
        )


def _mixes(module: nn.Module, together: Arguments, alone: Sequence[Arguments]) -> bool:
    """Whether it does so where it can be told: outputs of one kind in both modes, twice alike."""
    try:
        found, expected = (_outputs(module, together, training=t) for t in (True, False))
        if found is None or expected is None:
            return False
        if [t.shape for t in found] != [t.shape for t in expected] or _near(found, expected):
            return False
        if not _is_made_of(expected, [_outputs(module, one, training=False) for one in alone]):
            return False
    except Exception:  # whatever the user's code makes of a few examples, or of a copy
        return False
    try:
        single = [_outputs(module, one, training=True) for one in alone]
    except Exception:  # as a BatchNorm raises of one value
        return True
    return None not in single and not _is_made_of(found, single)


def _outputs(module: nn.Module, arguments: Arguments, *, training: bool) -> list[Tensor] | None:
    """Return the tensors with a graph that a copy returns; None if it draws, or changes in time."""
    copied, found = _copy(module), []
    with aside(copied, training=training), no_hooks(), torch.enable_grad(), _WithoutDropout():
        draws = Draws(copied)
        for _ in range(2):
            outputs = pytree.tree_leaves(copied(*arguments[0], **arguments[1]))
            tensors = [leaf for leaf in outputs if isinstance(leaf, Tensor)]
            found.append([leaf.detach() for leaf in tensors if leaf.requires_grad])
        drawn = draws.moved()
    return None if drawn or not _near(*found) else found[0]


def _copy(module: nn.Module) -> nn.Module:
    """Return a copy with the same parameters, on which nobody's hooks are called afterwards."""
    with bare(module):
        copied = copy.deepcopy(module, {id(p): p for p in module.parameters()})
    for part in copied.modules():
        for name in ("_forward_hooks", "_backward_hooks", "_backward_pre_hooks"):
            vars(part)[name].clear()
        for key, hook in list(part._forward_pre_hooks.items()):
            if isinstance(getattr(hook, "__self__", None), Entries):
                del part._forward_pre_hooks[key]
    return copied


def _is_made_of(together: list[Tensor], alone: Sequence[list[Tensor] | None]) -> bool:
    """Whether what has a row an example has the rows that these have alone."""
    for several, *ones in zip(together, *(one or [] for one in alone), strict=True):
        rows = several.ndim and all(one.shape == several[:1].shape for one in ones)
        if rows and len(several) == len(ones) and not _near([several], [torch.cat(ones)]):
            return False
    return True


def _near(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether numbers are the same but for rounding."""
    return [t.shape for t in found] == [t.shape for t in expected] and all(
        _same(a, b)
        for a, b in zip(found, expected, strict=True)
        if a.is_floating_point() and a.layout is torch.strided and a.numel() and not a.is_meta
    )


def _same(found: Tensor, expected: Tensor) -> bool:
    share = max(_SAME, 32 * torch.finfo(found.dtype).eps)
    a, b = found.double(), expected.double()
    return bool(a.isclose(b, 0, share * float(b.nan_to_num().abs().max()), equal_nan=True).all())


@final
class _WithoutDropout(TorchFunctionMode):
    """Lets dropout return what it is given."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "native_dropout":
            return func(*args[:1], 0.0, *args[2:], **kwargs)
        if "dropout" in name:
            return args[0] if args else kwargs["input"]
        if func is _ATTENTION:
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            kwargs |= {} if len(args) > 4 else {"dropout_p": 0.0}
        return func(*args, **kwargs)
