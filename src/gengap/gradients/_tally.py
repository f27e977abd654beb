"""Running sums of gradients and of their squared norms."""

from collections.abc import Mapping
from functools import reduce
from typing import Any, final

import torch
from torch import Tensor, nn

from ._layers import by_layer
from ._sample_coherence import sample_m_coherence, sample_unbiased_alpha


@final
class Tally:
    """The sum of gradients and the sum of squared norms, parameter by parameter.

    Attributes:
        sums: Name to the sum of the gradients.
        squares: Name to the sum over examples of squared norms, a float64 scalar.
        examples: Number of examples.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}
        self.examples = 0

    def add(self, name: str, total: Tensor) -> None:
        """Add a sum of gradients; float32 at least."""
        if name in self.sums:
            self.sums[name] += total
        else:
            wide = torch.promote_types(total.dtype, torch.float32)
            self.sums[name] = total.detach().to(wide, copy=True)

    def add_squares(self, name: str, norms: Tensor) -> None:
        """Add squared norms [b]."""
        total = norms.sum(dtype=torch.float64)
        self.squares[name] = self.squares[name] + total if name in self.squares else total

    def merge(self, other: "Tally") -> None:
        """Add another tally, which is not used any more."""
        if not self.sums:
            self.sums, self.squares = other.sums, other.squares
        else:
            for name, total in other.sums.items():
                self.add(name, total)
            for name, norms in other.squares.items():
                self.add_squares(name, norms)
        self.examples += other.examples

    def check_shapes(self, model: nn.Module) -> None:
        """Require that no layer has been exchanged for one of another shape."""
        for name, p in model.named_parameters():
            if name in self.sums and self.sums[name].shape != p.shape:
                raise ValueError(
                    f"`read` must come before a parameter gets another shape; got {name!r} of "
                    f"shape {tuple(p.shape)}, which was {tuple(self.sums[name].shape)}."
                )

    def reduce(self, parameters: Mapping[str, Tensor], *, refused: bool) -> bool:
        """Sum everything over the processes of the default group, in two calls.

        A process may have used other layers than its neighbours, or none.

        Args:
            parameters: Of the model, by name; the same in every process.
            refused: Whether this process cannot tell its gradients apart.

        Returns:
            Whether any process cannot.
        """
        shapes = {name: p.shape for name, p in parameters.items()}
        device = next(iter(parameters.values())).device
        wide = (torch.promote_types(p.dtype, torch.float32) for p in parameters.values())
        like = torch.empty(0, dtype=reduce(torch.promote_types, wide), device=device)
        vector = torch.cat([
            self.sums[name].to(like).flatten() if name in self.sums else like.new_zeros(p.numel())
            for name, p in parameters.items()
        ])
        zero = torch.zeros((), dtype=torch.float64, device=device)
        told = [*(name in self.squares for name in shapes), self.examples, refused]
        counts = torch.stack([
            *(self.squares.get(name, zero) for name in shapes),
            *torch.tensor(told, dtype=torch.float64, device=device),
        ])
        torch.distributed.all_reduce(vector)
        torch.distributed.all_reduce(counts)
        parts = vector.split([shape.numel() for shape in shapes.values()])
        squares, heard_by = counts[:-2].view(2, -1)
        used = [name for name, number in zip(shapes, heard_by.tolist(), strict=True) if number]
        sums = dict(zip(shapes, parts, strict=True))
        self.sums = {name: sums[name].view(shapes[name]) for name in used}
        norms = dict(zip(shapes, squares, strict=True))
        self.squares = {name: norms[name] for name in used}
        self.examples = int(counts[-2])
        return bool(counts[-1])

    def coherence(self) -> dict[str, Any]:
        """Return the numbers of a reading, by name."""
        n = self.examples
        of_sum = {name: _squared_norm(total) for name, total in self.sums.items()}
        squares = {name: float(self.squares[name]) for name in of_sum}
        signal, total = sum(of_sum.values()), sum(squares.values())
        return {
            "m_coherence": sample_m_coherence(signal, total, n),
            "examples": n,
            "alpha": sample_m_coherence(signal, total, n) / n,
            "unbiased_alpha": sample_unbiased_alpha(signal, total, n),
            "per_layer": {
                layer: sample_m_coherence(
                    sum(of_sum[k] for k in names), sum(squares[k] for k in names), n
                )
                for layer, names in by_layer(of_sum).items()
            },
        }


def _squared_norm(total: Tensor) -> float:
    return float(torch.linalg.vector_norm(total, dtype=torch.float64)) ** 2
