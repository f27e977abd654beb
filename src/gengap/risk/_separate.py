"""Whether a model treats every example of a batch by itself."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gengap._copies import copy_of

from ._fits import check_outputs
from ._wrong_kind import wrong_kind

if TYPE_CHECKING:
    from ._risk import Risk

_ROWS = 4


def check_separate(risk: "Risk", given: torch.dtype) -> None:
    """Require that an example's output does not depend on the others in its batch.

    Compares the outputs of a few examples with those that each gives alone.

    Args:
        risk: The risk.
        given: The dtype of the caller's model, of which the risk's is a copy.

    Raises:
        ValueError: They differ, the model does not take the examples, or its outputs do not fit
            the targets.
    """
    rows = min(_ROWS, risk.n)
    x, y = (risk.cast(part) for part in risk.split.batch(torch.arange(rows)))
    with torch.no_grad():
        together = _together(risk, x, given)
        check_outputs(together, risk.split, risk.loss)
        _check_loss(risk, together, y)
        alone = torch.cat([_alone(risk, x[i : i + 1], together.shape[1:]) for i in range(rows)])
    scale = together.abs().max().clamp(min=1)
    if rows > 1 and (together - alone).abs().max() > 1e-2 * scale:
        raise ValueError(_sentence(risk.model))


def _check_loss(risk: "Risk", outputs: Tensor, y: Tensor) -> None:
    try:
        risk.losses(outputs, y)
    except RuntimeError as error:
        raise ValueError(
            f"`loss` must take outputs in {risk.dtype}; it raised {_said(error)}. Give what it "
            "holds the dtype of the outputs, or make it a torch.nn.Module."
        ) from error


def _together(risk: "Risk", x: Tensor, given: torch.dtype) -> Tensor:
    """Return the outputs of a few examples, a row each."""
    try:
        outputs = risk.model(x)
    except Exception as error:
        if risk.dtype != given and _runs(risk.model, x, given):
            raise ValueError(_of_dtype(error, risk.dtype)) from error
        raise ValueError(
            f"`model` must take examples of shape {tuple(x.shape[1:])}; it raised {_said(error)}."
            f"{wrong_kind(risk.model, x)}"
        ) from error
    _check_rows(outputs, len(x))
    return outputs


def _alone(risk: "Risk", x: Tensor, shape: torch.Size) -> Tensor:
    """Return the output [1, ...] of one example, of the shape it has among others."""
    try:
        output = risk.model(x)
    except ValueError as error:  # BatchNorm has no variance of one example
        raise ValueError(_sentence(risk.model)) from error
    except Exception as error:
        raise ValueError(
            f"`model` must take one example, shape {tuple(x.shape)}; it raised {_said(error)}."
        ) from error
    _check_rows(output, 1, shape)
    return output


def _check_rows(outputs: object, rows: int, shape: torch.Size | None = None) -> None:
    """Require a tensor with so many rows, of a shape where one is given."""
    if isinstance(outputs, Tensor):
        fits = outputs.ndim > 0 and len(outputs) == rows
        if fits and (shape is None or outputs.shape[1:] == shape):
            return
        got = f"shape {tuple(outputs.shape)}"
    else:
        got = type(outputs).__name__
    examples = "one example" if rows == 1 else f"{rows} examples"
    raise ValueError(
        f"`model` must return a tensor with a row an example; got {got} for {examples}."
    )


def _runs(model: nn.Module, x: Tensor, dtype: torch.dtype) -> bool:
    try:
        copy_of(model).to(dtype)(x.to(dtype) if x.is_floating_point() else x)
    except Exception:
        return False
    return True


def _of_dtype(error: Exception, dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    return (
        f"`model` must run in {name}; a {name} copy of the network was run and raised "
        f"{_said(error)}. Tensors made in `forward` should use `x.dtype`."
    )


def _said(error: Exception) -> str:
    """Return an exception's type and the first line of what it says, without a full stop."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"


def _sentence(model: nn.Module) -> str:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    guilty = [
        name for name, m in model.named_modules() if isinstance(m, kinds) and m.running_mean is None
    ]
    if guilty:
        return (
            f"`model` must treat every example by itself; its BatchNorm layer {guilty[0]!r} keeps "
            "no running statistics. Build it with track_running_stats=True, or use GroupNorm."
        )
    return (
        "`model` must treat every example by itself, but an example's output changes with the "
        "others in its batch (or from call to call). Take out what mixes or draws."
    )
