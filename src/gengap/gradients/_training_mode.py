"""Whether a model mixes its examples in training mode, in which the trials do not run it."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ._draws import Draws
from ._intercept import bare
from ._trial import Arguments, aside

_SAME = 1e-3
"""Share of the largest output by which an example's may differ, for another order of sums."""
_ATTENTION = torch.nn.functional.scaled_dot_product_attention


def check_no_mixing_in_training(
    module: nn.Module, together: Arguments, alone: Sequence[Arguments]
) -> None:
    """Require that examples have the outputs in training mode which each of them has alone.

    Dropout is off meanwhile. Where the module draws in another way, nobody can tell; what mixes
    them in evaluation mode, too, is not looked at.

    Args:
        module: The module that is called.
        together: What it is called with, a few examples.
        alone: The same for each of them.

    Raises:
        ValueError: They have not; the sentence says what to do.
    """
    if not any(part.training for part in module.modules()):
        return
    try:
        found, expected = (_outputs(module, together, training=t) for t in (True, False))
    except Exception:  # whatever the user's code makes of a few examples
        return
    if found is None or expected is None or _near(found, expected):
        return
    if not _is_made_of(expected, _each(module, alone, training=False)):
        return
    single = _each(module, alone, training=True)
    if single is not None and not _is_made_of(found, single):
        raise ValueError(
            "`model` must not mix the examples of a batch, but in training mode a few of them "
            "together have other outputs than each alone, as by statistics of the batch: call "
            "`.eval()` on the layers that do so, or take gengap.gradients.minibatch_coherence, "
            "which measures whole batches."
        )


def _outputs(module: nn.Module, arguments: Arguments, *, training: bool) -> list[Tensor] | None:
    """Return the tensors that a module returns; None where it draws random numbers."""
    with bare(module), aside(module, training=training), torch.no_grad(), _WithoutDropout():
        draws = Draws(module)
        outputs = module(*arguments[0], **arguments[1])
        drawn = draws.moved()
    leaves = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return None if drawn else [leaf.detach().clone() for leaf in leaves]


def _each(
    module: nn.Module, alone: Sequence[Arguments], *, training: bool
) -> list[list[Tensor]] | None:
    """Return the outputs of each example; none where it cannot be alone, None where one draws."""
    try:
        found = [_outputs(module, one, training=training) for one in alone]
    except Exception:  # as a BatchNorm raises of one value
        return []
    return None if None in found else [one for one in found if one is not None]


def _is_made_of(together: list[Tensor], alone: list[list[Tensor]] | None) -> bool:
    """Whether what has a row an example has the rows that these have alone."""
    if not alone:
        return False
    for several, *ones in zip(together, *alone, strict=True):
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
        kwargs = dict(kwargs or {})
        if "dropout" in getattr(func, "__name__", ""):
            return args[0] if args else kwargs["input"]
        if func is _ATTENTION:
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            kwargs |= {} if len(args) > 4 else {"dropout_p": 0.0}
        return func(*args, **kwargs)
