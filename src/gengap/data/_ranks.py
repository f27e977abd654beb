"""The processes of one run, and which part of the examples is whose."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, distributed


@final
@dataclass(frozen=True, kw_only=True)
class Part:
    """A rank's part of so many examples in order: `start` up to, without, `stop` of `whole`."""

    start: int
    stop: int
    whole: int

    @property
    def size(self) -> int:
        """Examples of the part."""
        return self.stop - self.start

    def of(self, values: Tensor, dim: int = 0) -> Tensor:
        """Return the part of values along a dimension, a view."""
        return values.narrow(dim, self.start, self.size)


@final
@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes that train one network together, seen from one of them.

    Every method is called by all of them, in the same order; alone, it costs nothing.

    Attributes:
        rank: Which process this is.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    def part(self, n: int) -> Part:
        """Return this rank's part of n examples: the parts differ by one in size at most."""
        start, stop = (n * rank // self.world for rank in (self.rank, self.rank + 1))
        return Part(start=start, stop=stop, whole=n)

    def added(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over the ranks, which come in one message a type of number."""
        if self.world == 1:
            return list(tensors)
        found: dict[int, Tensor] = {}
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            alike = [(i, t) for i, t in enumerate(tensors) if t.dtype == dtype]
            flat = _on_wire(torch.cat([t.detach().flatten() for _, t in alike]))
            distributed.all_reduce(flat)
            parts = flat.split([t.numel() for _, t in alike])
            for (i, t), own in zip(alike, parts, strict=True):
                found[i] = own.view(t.shape).to(t.device)
        return [found[i] for i in range(len(tensors))]

    def gathered(self, own: Tensor, n: int, dim: int = 0) -> Tensor:
        """Return all n entries along a dimension, given this rank's part of them."""
        if self.world == 1:
            return own
        shape = [*own.shape[:dim], n, *own.shape[dim + 1 :]]
        kind = torch.uint8 if own.dtype == torch.bool else own.dtype
        whole = torch.zeros(shape, dtype=kind, device=own.device)
        self.part(n).of(whole, dim).copy_(own)
        return self.added([whole])[0].to(own.dtype)

    def from_first(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of rank 0."""
        if self.world == 1:
            return list(tensors)
        found = []
        for tensor in tensors:
            sent = _on_wire(tensor.detach().clone().contiguous())
            distributed.broadcast(sent, src=0)
            found.append(sent.to(tensor.device))
        return found

    def check_same(self, name: str, value: str) -> None:
        """Require that all ranks were given the same.

        Raises:
            ValueError: They were not; raised on every rank.
        """
        digest = int.from_bytes(hashlib.blake2b(value.encode(), digest_size=7).digest())
        every = self.gathered(torch.tensor([digest]), self.world)
        if len(set(every.tolist())) > 1:
            raise ValueError(
                f"`{name}` must be the same on every rank; rank {self.rank} of {self.world} got "
                f"{value[:80]}, another something else."
            )


def current_ranks() -> Ranks:
    """Return the ranks of the default process group, or one alone where there is none."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Ranks()
    return Ranks(rank=distributed.get_rank(), world=distributed.get_world_size())


def _on_wire(values: Tensor) -> Tensor:
    """Return values where the process group can send them from."""
    nccl = distributed.get_backend() == "nccl"
    return values.cuda() if nccl and values.device.type == "cpu" else values
