"""What all examples have in common: values that a model computes of its parameters alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, final
from weakref import ReferenceType, ref

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ._batch import in_backward
from ._linear_rule import LinearRule
from ._rule import Layout
from ._spread import spread
from ._use import Session

_NO_VALUES = {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_contiguous, Tensor.__len__,
    Tensor.is_floating_point, Tensor.is_complex, Tensor.element_size, Tensor.storage_offset,
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "ndim", "dtype", "device", "layout", "requires_grad", "is_cuda",
                     "is_leaf", "grad_fn", "_version", "is_nested", "is_sparse", "grad")
    ),
    Tensor.requires_grad_, Tensor.retain_grad, Tensor.register_hook,
    Tensor.register_post_accumulate_grad_hook, Tensor.backward, torch.autograd.grad,
    torch.autograd.backward,
}  # fmt: skip
"""What asks something of a tensor, or of autograd, and computes nothing of it."""

_AS_ANOTHER = {Tensor.to, Tensor.type_as}
"""What takes no values but of its first argument."""
_CONSTANTS = {
    torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like,
    Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_empty, Tensor.new_tensor,
}  # fmt: skip
_NEW = {
    found
    for name in (
        "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "pow",
        "where", "maximum", "minimum", "fmax", "fmin", "clamp", "clip", "lerp", "addcmul",
        "addcdiv", "hypot", "atan2", "masked_fill", "__add__", "__radd__", "__sub__", "__rsub__",
        "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__pow__", "__rpow__",
    )
    for home in (torch, Tensor)
    if (found := getattr(home, name, None)) is not None
} | {F.cosine_similarity, F.pairwise_distance}  # fmt: skip
_IN_PLACE = {
    Tensor.add_, Tensor.__iadd__, Tensor.sub_, Tensor.__isub__,
    Tensor.mul_, Tensor.__imul__, Tensor.div_, Tensor.__itruediv__,
}  # fmt: skip
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}
_JOINED = {torch.cat, torch.concat, torch.concatenate, torch.stack}


@final
class CommonJoint:
    """Stands in the place of a model's forward; follows common values while it runs."""

    def __init__(self, session: Session, original: Callable[..., Any]) -> None:
        self.session, self.original = session, original

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        session = self.session
        recorder = session.recorder
        off = not session.common or not torch.is_grad_enabled() or recorder.replaying
        if off or not recorder.examples or in_backward() or session.following:
            return self.original(*arguments, **options)
        leaves = pytree.tree_leaves((arguments, options))
        given = [t for t in tensors_in(leaves) if id(t) not in session.fixed]
        with _Following(session, recorder.examples, given) as following:
            session.following.append(following)
            try:
                outputs = self.original(*arguments, **options)
            finally:
                session.following.clear()
        following.leave(tensors_in(pytree.tree_leaves(outputs)))
        return outputs


class _Following(TorchFunctionMode):
    """Looks at every function: which tensors hang on the examples, and which on parameters alone.

    Where the two meet, the latter get a row an example, which is what broadcasting does: the
    gradients of these rows are those of the examples. Where they meet in a way that is not known
    here, the parameters' gradient is autograd's, and the recorder hears of it.
    """

    def __init__(self, session: Session, examples: int, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.session, self.examples = session, examples
        self._hang = _Tensors(t for t in given if t.ndim and len(t) == examples)
        self._common = _Tensors()
        self._aliases: dict[str, tuple[Tensor, Tensor]] = {}
        self._wide: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        sets = getattr(func, "__name__", "") == "__set__"
        if sets or func in _NO_VALUES or func in _CONSTANTS:
            return func(*args, **kwargs)
        tensors = list(tensors_in((*args, *kwargs.values())))
        common = torch.is_grad_enabled() and any(map(self.is_common, tensors))
        if any(map(self.hangs, tensors[:1] if func in _AS_ANOTHER else tensors)):
            found = self._meet(func, list(args), kwargs) if common else func(*args, **kwargs)
            self.mark(args[0] if func is Tensor.__setitem__ else found)
        elif common:
            found = func(
                *map(self._aliased, args), **{k: self._aliased(v) for k, v in kwargs.items()}
            )
            for t in tensors_in([args[0] if func is Tensor.__setitem__ else found]):
                self._common.add(t)
        else:
            found = func(*args, **kwargs)
        return found

    def hangs(self, value: Tensor) -> bool:
        """Whether a tensor is known to hang on the examples."""
        return value in self._hang

    def is_common(self, value: Any) -> bool:
        """Whether a value hangs on parameters, and on no example."""
        if not isinstance(value, Tensor) or not value.requires_grad:
            return False
        return id(value) in self.session.names or value in self._common

    def mark(self, found: Any) -> None:
        """Know that what was found hangs on the examples."""
        for t in tensors_in([found]):
            self._hang.add(t)

    def leave(self, values: Iterable[Tensor]) -> None:
        """Tell the recorder of parameters behind common values that are autograd's."""
        names = {name for t in values if self.is_common(t) for name in self._behind(t)}
        if names:
            self.session.recorder.left(tuple(sorted(names)))

    def widened(self, leaves: Sequence[Any]) -> list[Any]:
        """Return arguments in which common values have a row an example, if one has them."""
        x = next((t for t in tensors_in(leaves) if self.hangs(t)), None)
        if x is None:
            return list(leaves)
        found = self._all_with_rows(leaves, x)
        self.leave(tensors_in(found))
        return found

    def _meet(self, func: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call a function that is given both kinds."""
        hanging = (t for t in tensors_in((*args, *kwargs.values())) if self.hangs(t))
        x = max(hanging, key=lambda t: t.ndim)
        if func is F.linear and args and self.hangs(args[0]):
            return self._linear(*args, **kwargs)
        if func in _NEW or func is F.scaled_dot_product_attention:
            args = [self._like(value, x) for value in args]
            kwargs = {name: self._like(value, x) for name, value in kwargs.items()}
        elif func in _IN_PLACE:
            args[1:] = [self._like(value, x) for value in args[1:]]
        elif func in _PRODUCTS and x.ndim > 2:
            args = [self._like(value, x, least=2) for value in args]
        elif func in _PRODUCTS and x.ndim == 2 and x is args[0] and args[1].ndim == 2:
            weight = self._aliased(args[1]).mT
            self._common.add(weight)
            return self._linear(x, weight)
        elif func in _JOINED and args:
            args[0] = self._all_with_rows(args[0], x)
        elif func is torch.einsum and isinstance(args[0], str):
            operands = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
            args = self._einsum(args[0], *operands)
        self.leave(tensors_in((*args, *kwargs.values())))
        return func(*args, **kwargs)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return a linear layer of x [b, ..., i] whose weight or bias is common."""
        names = self.session.names
        if id(weight) in names and (bias is None or id(bias) in names):
            layer = names[id(weight)].rpartition(".")[0]
            layout = Layout(examples=self.examples)
            self.session.meet()
            return self.session.use(layer, LinearRule(), x, weight, bias, layout=layout)
        rows = x if x.ndim > 2 else x.unsqueeze(1)
        wide = self._like(weight, rows, least=2)
        found = rows @ wide.mT
        found = found if x.ndim > 2 else found.squeeze(1)
        bias = None if bias is None else self._like(bias, found)
        self.leave(tensors_in([wide, bias]))
        return found if bias is None else found + bias

    def _einsum(self, equation: str, *operands: Tensor) -> list[Any]:
        """Return the equation with the examples' letter at common operands, which get rows."""
        terms, arrow, result = equation.replace(" ", "").partition("->")
        named = list(zip(terms.split(","), operands, strict=True))
        firsts = {term[:1] for term, t in named if self.hangs(t)}
        letter = firsts.pop() if len(firsts) == 1 else ""
        if not arrow or not letter.isalpha():
            return [equation, *operands]
        x = next(t for _, t in named if self.hangs(t))
        found = [
            (letter + term, self._with_rows(t, len(x), t.ndim + 1))
            if self.is_common(t) and letter not in term and "." not in term
            else (term, t)
            for term, t in named
        ]
        return [",".join(term for term, _ in found) + arrow + result, *(t for _, t in found)]

    def _like(self, value: Any, x: Tensor, *, least: int = 0) -> Any:
        """Return a common value of no more axes than x with its rows; another one as it is."""
        if not self.is_common(value) or not least <= value.ndim <= x.ndim:
            return value
        return self._with_rows(value, len(x), x.ndim)

    def _all_with_rows(self, values: Iterable[Any], x: Tensor) -> list[Any]:
        """Return values, those that are common with as many rows as x has."""
        return [self._with_rows(v, len(x), v.ndim) if self.is_common(v) else v for v in values]

    def _with_rows(self, value: Tensor, rows: int, ndim: int) -> Tensor:
        """Return a common value as one of `ndim` axes, the first of them with so many rows."""
        shape = [1] * (ndim - value.ndim) + list(value.shape)
        if rows % self.examples or not shape or shape[0] not in {1, rows}:
            return value
        value = self._aliased(value)
        key = id(value), rows, ndim
        if key not in self._wide:
            pairs = {name: self._aliases[name] for name in self._behind(value)}
            wide = spread(
                self.session, value, (rows, *shape[1:]), pairs=pairs, examples=self.examples
            )
            self.mark(wide)
            self._wide[key] = value, wide
        return self._wide[key][1]

    def _aliased(self, value: Any) -> Any:
        """Return another tensor for a parameter: gradients of common values end there."""
        if type(value) in (list, tuple):
            return type(value)(map(self._aliased, value))
        name = self.session.names.get(id(value)) if self.is_common(value) else None
        if name is None:
            return value
        if name not in self._aliases:
            alias = value.view_as(value)
            self._aliases[name] = alias, value
            self._common.add(alias)
        return self._aliases[name][0]

    def _behind(self, value: Tensor) -> list[str]:
        """Return the names of the parameters that a common value depends on."""
        if id(value) in self.session.names:
            return [self.session.names[id(value)]]
        ends = {alias.grad_fn: name for name, (alias, _) in self._aliases.items()}
        left, seen, found = [value.grad_fn], set(), []
        while left:
            node = left.pop()
            if node in ends:
                found.append(ends.pop(node))
            elif node is not None and node not in seen:
                seen.add(node)
                left += [parent for parent, _ in node.next_functions]
        return found


@final
class _Tensors:
    """A set of tensors, by identity, that keeps none of them alive."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        self._held: dict[int, ReferenceType[Tensor]] = {}
        for t in tensors:
            self.add(t)

    def add(self, tensor: Tensor) -> None:
        self._held[id(tensor)] = ref(tensor)

    def __contains__(self, value: object) -> bool:
        held = self._held.get(id(value))
        return held is not None and held() is value


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among values and in their lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)
