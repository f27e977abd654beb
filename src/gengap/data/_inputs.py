"""Arrays from outside made into stored inputs: dtype, axes, finite values."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gengap._errors import DataError

from ._reading import Layout

Arrangement = Literal["keep", "channels_last", "add_channel", "tokens"]
Dtype = np.dtype[Any] | torch.dtype
_CHANNELS = (1, 3, 4)
_CHUNK = 2**24


def as_array(x: object, *, where: str) -> np.ndarray | Tensor:
    """Return anything array-like as an array or tensor of numbers, without copying if possible."""
    if isinstance(x, Tensor):
        tensor = x.detach()
        if tensor.layout != torch.strided or tensor.is_complex():
            raise DataError(
                f"`inputs` of {where} must be dense and real; got {x.dtype} {x.layout}."
            )
        return tensor
    if hasattr(x, "toarray"):
        raise DataError(
            f"`inputs` of {where} must be dense; got a {type(x).__name__}. Give its `.toarray()`."
        )
    try:
        array = _numbers(x) if _is_frame_of_numbers(x) else np.asarray(x)
    except ValueError as error:
        raise DataError(f"`inputs` of {where} must be one array; got {error}.") from None
    if array.dtype.kind not in "buif":
        advice = " Turn texts into tokens, whole numbers." if array.dtype.kind in "UO" else ""
        raise DataError(
            f"`inputs` of {where} must be numbers; got the dtype {array.dtype}.{advice}"
        )
    return array


def _is_frame_of_numbers(x: Any) -> bool:
    """Return whether something is a pandas DataFrame of numbers, truth values among them."""
    if not all(hasattr(x, name) for name in ("columns", "dtypes", "to_numpy")):
        return False
    return all(getattr(dtype, "kind", "O") in "buif" for dtype in x.dtypes)


def _numbers(frame: Any) -> np.ndarray:
    """Return the columns of a DataFrame as one array, missing values as NaN."""
    array = np.asarray(frame)
    return array if array.dtype.kind in "buif" else frame.to_numpy(np.float64, na_value=np.nan)


def arrangement(x: np.ndarray | Tensor, *, layout: Layout, where: str) -> Arrangement:
    """Decide how the axes [n, ...] become (channels, height, width).

    Four axes: the last holds the channels if `layout` says so, or, with "auto", if its size is
    1, 3 or 4 and that of the second axis is not; never for tensors of floats, which are
    channels-first by PyTorch's custom. Three axes of 8-bit numbers are grey images. Tokens keep
    their axes.
    """
    if x.ndim and not len(x):
        raise DataError(f"{where} must hold at least one example; got none.")
    if not 2 <= x.ndim <= 5:
        raise DataError(
            f"`inputs` of {where} must have 2 to 5 axes, examples first; got the shape "
            f"{tuple(x.shape)}."
        )
    if 0 in x.shape:
        raise DataError(f"`inputs` of {where} must not be empty; got the shape {tuple(x.shape)}.")
    if layout == "tokens":
        if not _is_whole(x.dtype):
            raise DataError(f"Tokens of {where} must be whole numbers; got the dtype {x.dtype}.")
        return "tokens"
    if x.ndim == 4 and layout == "auto":
        float_tensor = isinstance(x, Tensor) and x.is_floating_point()
        looks_last = x.shape[3] in _CHANNELS and x.shape[1] not in _CHANNELS
        return "channels_last" if looks_last and not float_tensor else "keep"
    if x.ndim == 4 and layout == "channels_last":
        return "channels_last"
    return "add_channel" if x.ndim == 3 and x.dtype in (np.uint8, torch.uint8) else "keep"


def arranged(x: np.ndarray | Tensor, how: Arrangement) -> Tensor:
    """Return stored inputs: tokens as int64, bytes as they are, other numbers as float32."""
    if how == "tokens":
        return (x if isinstance(x, Tensor) else torch.from_numpy(x.astype(np.int64))).long()
    if isinstance(x, np.ndarray):
        x = np.ascontiguousarray(x)
        native = x.astype(x.dtype.newbyteorder("="), copy=not x.flags.writeable)
        x = torch.from_numpy(native if native.dtype.kind != "u" else _signed(native))
    if x.dtype not in (torch.uint8, torch.float32):
        x = x.float()
    if how == "channels_last":
        return x.movedim(-1, 1).contiguous()
    return x[:, None] if how == "add_channel" else x.contiguous()


def stored_alike(one: Dtype, other: Dtype, how: Arrangement) -> bool:
    """Return whether numbers of two dtypes may be stored together, none of them cut off."""
    if how == "tokens":
        return _is_whole(one) and _is_whole(other)
    bytes_ = (np.uint8, torch.uint8)
    return (one in bytes_) == (other in bytes_)


def _is_whole(dtype: Dtype) -> bool:
    """Return whether numbers are whole by their dtype."""
    if isinstance(dtype, torch.dtype):
        return not dtype.is_floating_point and dtype != torch.bool
    return dtype.kind in "iu"


def _signed(x: np.ndarray) -> np.ndarray:
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def check_finite(x: Tensor, *, where: str, names: list[int] | None = None) -> None:
    """Require finite values; `names` gives the examples' numbers if they are not 0..n-1."""
    if not x.is_floating_point():
        return
    rows = max(1, _CHUNK // max(1, x[0].numel()))
    count, first = 0, -1
    for start in range(0, len(x), rows):
        bad = ~x[start : start + rows].isfinite()
        found = int(bad.sum())
        if found and not count:
            first = start + int(bad.flatten(1).any(1).nonzero()[0])
        count += found
    if count:
        example = names[first] if names else first
        raise DataError(
            f"`inputs` of {where} must be finite; got {count} NaN or infinite "
            f"value{'s' if count > 1 else ''}, the first in example {example}. Drop or fill them."
        )


def stored_inputs(x: object, *, layout: Layout, where: str) -> Tensor:
    """Return checked stored inputs [n, ...] from anything array-like."""
    array = as_array(x, where=where)
    inputs = arranged(array, arrangement(array, layout=layout, where=where))
    check_finite(inputs, where=where)
    return inputs
