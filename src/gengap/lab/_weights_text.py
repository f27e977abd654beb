"""What initial weights are like, as a text that is the same on every machine."""

import functools
import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 1 << 18
_GRID = 1000
_OFFSET = 0.317
_FACTORS = (2654435761, 2246822519)
_PRIME = 65521


def weights_text(tensor: Tensor) -> str:
    """Return dtype, shape, whether it is trained, and what the numbers are like.

    Whole numbers and booleans count to the last bit. Floats do not: processors differ in the
    last bits of normal draws. They count by their root mean square and two sums over positions,
    each rounded to a thousandth of its scale. The grid of the rounding is shifted, so that 0, 1
    and other round values lie inside a cell and no last bit takes them into the next.
    """
    kind = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}"
    try:
        return f"{kind} {_content(tensor.detach())}"
    except (NotImplementedError, RuntimeError):  # numbers that cannot be read, as on "meta"
        return kind


def _content(tensor: Tensor) -> str:
    values = tensor.to_dense() if tensor.layout != torch.strided else tensor
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.is_floating_point():
        return _statistics(values.reshape(-1).cpu())
    raw = values.reshape(-1).cpu().contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(raw.data, digest_size=10).hexdigest()


def _statistics(values: Tensor) -> str:
    """Return the size of the numbers, how they lie, and where some are not finite."""
    peak = max((float(part.abs().max()) for part, _ in _parts(values)), default=0.0)
    square, along, odd = 0.0, torch.zeros(2, dtype=torch.float64, device="cpu"), 0
    for number, (part, special) in enumerate(_parts(values)):
        scaled = part / (peak or 1.0)
        square += float(scaled.dot(scaled))
        along += _turn(number) * (_patterns()[:, : len(part)] @ scaled)
        odd += (number + 1) * special
    if not peak:
        return f"0 {odd}"
    size = math.log(peak) + math.log(square / len(values)) / 2
    cells = [size, *(one / math.sqrt(square) for one in along.tolist())]
    return " ".join([*(str(math.floor(_GRID * one + _OFFSET)) for one in cells), str(odd)])


def _parts(values: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Yield numbers in float64, 0 for what is not finite, and a sum that tells what that is."""
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK].double()
        special = 0
        if not part.isfinite().all():
            kinds = part.isnan() + 2 * part.isposinf() + 3 * part.isneginf()
            special = int((kinds * torch.arange(1, len(part) + 1, device=part.device)).sum())
            part = part.where(part.isfinite(), 0.0)
        yield part, special


@functools.cache
def _patterns() -> Tensor:
    """Return two rows of factors for the positions of a chunk, in [-1/2, 1/2)."""
    places = torch.arange(_CHUNK, device="cpu")
    return torch.stack([(places * f % _PRIME).double() / _PRIME - 0.5 for f in _FACTORS])


def _turn(number: int) -> float:
    """Return a factor for a whole chunk, in [1/2, 3/2)."""
    return 0.5 + number * _FACTORS[0] % _PRIME / _PRIME
