"""Running sums of gradients and of their squared norms."""

from typing import Any, final

import torch
from torch import Tensor, nn

from ._layers import by_layer
from ._sample_coherence import ratio, sample_unbiased_alpha


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

    def reduce(self) -> None:
        """Sum everything over the processes of the default group, in two calls."""
        if not self.sums:
            raise ValueError(
                "`read` must come after a backward pass in every process; got none in this one."
            )
        names = sorted(self.sums)
        vector = torch.cat([self.sums[name].flatten() for name in names])
        scalars = torch.stack([
            *(self.squares[name] for name in names),
            torch.tensor(float(self.examples), dtype=torch.float64, device=vector.device),
        ])
        torch.distributed.all_reduce(vector)
        torch.distributed.all_reduce(scalars)
        parts = vector.split([self.sums[name].numel() for name in names])
        self.sums = {
            name: part.view_as(self.sums[name]) for name, part in zip(names, parts, strict=True)
        }
        self.squares = dict(zip(names, scalars[:-1], strict=True))
        self.examples = int(scalars[-1])

    def coherence(self) -> dict[str, Any]:
        """Return the numbers of a reading, by name."""
        n = self.examples
        of_sum = {name: _squared_norm(total) for name, total in self.sums.items()}
        squares = {name: float(self.squares[name]) for name in of_sum}
        signal, total = sum(of_sum.values()), sum(squares.values())
        return {
            "m_coherence": ratio(signal, total),
            "examples": n,
            "alpha": ratio(signal, n * total),
            "unbiased_alpha": sample_unbiased_alpha(signal, total, n),
            "per_layer": {
                layer: ratio(sum(of_sum[k] for k in names), sum(squares[k] for k in names))
                for layer, names in by_layer(of_sum).items()
            },
        }


def _squared_norm(total: Tensor) -> float:
    return float(torch.linalg.vector_norm(total, dtype=torch.float64)) ** 2
