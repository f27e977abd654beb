"""Products of one chunk's second derivatives with vectors, by double backward."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gengap.risk import Risk

Vector = Sequence[Tensor]
"""One tensor a parameter, of its shape; with a leading axis k where there are k vectors."""

Multiply = Callable[[Vector, bool], list[Tensor | None]]
"""Maps a vector (or k of them, where the flag says so) to its product; None is zero."""

Build = Callable[[Risk, Vector, Tensor, Tensor], tuple[Multiply, Vector]]
"""Prepares the products of a chunk's sum of losses; returns the ends of the graph, too."""


def hessian_of(risk: Risk, params: Vector, x: Tensor, y: Tensor) -> tuple[Multiply, Vector]:
    """Return products with the Hessian of the chunk's sum of losses, from its gradient's graph."""
    with twice_differentiable():
        loss = _total(risk, x, y)
        gradients = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
    return _vjp(gradients, params), [g for g in gradients if g is not None]


def gauss_newton_of(risk: Risk, params: Vector, x: Tensor, y: Tensor) -> tuple[Multiply, Vector]:
    """Return products with J' L J, L the Hessian of the losses by the outputs."""
    with twice_differentiable():
        outputs = risk.model(x)
        _check_depends(outputs)
        free = outputs.detach().requires_grad_()
        slope = torch.autograd.grad(risk.losses(free, y).sum(), free, create_graph=True)
    (forward, ends), backward = _jvp(outputs, params), _vjp([outputs], params)
    middle = _vjp(slope, [free])

    def multiply(vector: Vector, several: bool) -> list[Tensor | None]:
        (change,) = middle(forward(vector, several), several)
        return [None] * len(params) if change is None else backward([change], several)

    return multiply, [*ends, *slope]


def empirical_fisher_of(
    risk: Risk, params: Vector, x: Tensor, y: Tensor
) -> tuple[Multiply, Vector]:
    """Return products with the sum of the outer products of the examples' gradients."""
    with twice_differentiable():
        losses = risk.losses(risk.model(x), y)
        _check_depends(losses)
    (forward, ends), backward = _jvp(losses, params), _vjp([losses], params)
    return lambda vector, several: backward(forward(vector, several), several), ends


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Gradients on, attention by its math kernel; a missing derivative told in one sentence."""
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    except RuntimeError as error:
        text = str(error)
        if "is not implemented" not in text and "once_differentiable" not in text:
            raise
        reason = text.strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"`risk.model` and its loss must be twice differentiable; PyTorch says: {reason}. "
            "Take another operation in its place."
        ) from error


def _total(risk: Risk, x: Tensor, y: Tensor) -> Tensor:
    losses = risk.losses(risk.model(x), y)
    _check_depends(losses)
    return losses.sum()


def _check_depends(values: Tensor) -> None:
    if not values.requires_grad:
        raise ValueError(
            "`risk` must depend on the parameters asked for, but the loss is the same whatever "
            "they are. Check that the model does not detach its outputs, and `names`."
        )


def _vjp(values: Sequence[Tensor | None], points: Vector) -> Multiply:
    """Return the products of vectors with the derivatives of `values` by `points`."""
    live = [(i, v) for i, v in enumerate(values) if v is not None and v.requires_grad]

    def multiply(vector: Vector, several: bool) -> list[Tensor | None]:
        if not live:
            return [None] * len(points)
        with twice_differentiable():
            return list(
                torch.autograd.grad(
                    [v for _, v in live],
                    points,
                    grad_outputs=[vector[i] for i, _ in live],
                    retain_graph=True,
                    allow_unused=True,
                    is_grads_batched=several,
                )
            )

    return multiply


def _jvp(
    values: Tensor, points: Vector
) -> tuple[Callable[[Vector, bool], list[Tensor]], list[Tensor]]:
    """Return directional derivatives of `values`: the vjp is linear, so its vjp is the jvp."""
    with twice_differentiable():
        dummy = torch.zeros_like(values, requires_grad=True)
        pulled = torch.autograd.grad(
            values, points, grad_outputs=dummy, create_graph=True, allow_unused=True
        )
    push = _vjp(pulled, [dummy])

    def multiply(vector: Vector, several: bool) -> list[Tensor]:
        (found,) = push(vector, several)
        shape = (len(vector[0]), *values.shape) if several else values.shape
        return [found if found is not None else values.new_zeros(shape)]

    return multiply, [v for v in pulled if v is not None]
