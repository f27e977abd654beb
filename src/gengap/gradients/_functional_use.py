"""Parameters that a module of the user's own gives to PyTorch's functions."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ._elementwise_rule import ElementwiseRule, fits_elementwise
from ._embedding_rule import EmbeddingRule
from ._linear_rule import LinearRule
from ._rule import Rule
from ._use import Session
from ._viewed_part import View

_SUMS = {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__}
_PRODUCTS = {torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__}
_MATMULS = {torch.matmul, Tensor.matmul, Tensor.__matmul__}
_VIEWS = {
    Tensor.__getitem__, Tensor.view, Tensor.reshape, torch.reshape, Tensor.flatten, torch.flatten,
    Tensor.unflatten, Tensor.squeeze, torch.squeeze, Tensor.unsqueeze, torch.unsqueeze,
    Tensor.narrow, torch.narrow, Tensor.select, torch.select, Tensor.transpose, torch.transpose,
    Tensor.permute, torch.permute, Tensor.movedim, torch.movedim, Tensor.t, torch.t,
    Tensor.swapaxes, torch.swapaxes, Tensor.swapdims, torch.swapdims, Tensor.view_as,
    *(getattr(Tensor, name).__get__ for name in ("T", "mT")),
    Tensor.chunk, torch.chunk, Tensor.split, torch.split, Tensor.unbind, torch.unbind,
}  # fmt: skip
_EXPANSIONS = {Tensor.expand, Tensor.expand_as}


@final
class FunctionalJoint:
    """Stands in the place of a module's forward, and looks at the functions it calls.

    Linear layers, embeddings, sums and products with a parameter are put through their rules, the
    latter two with a view of it too (a slice of a table of positions), and for some recorders a
    class token that is expanded to the batch; any other use of a parameter stays autograd's.

    Attributes:
        noting: While the module is tried, hears the inputs of these functions.
        left: Whether the module, when it was tried, has used a parameter in another way.
    """

    def __init__(self, session: Session, name: str, module: nn.Module) -> None:
        self.session, self.name = session, name
        self.original: Callable[..., Any] = module.forward
        self.noting: Callable[[Tensor], None] | None = None
        self.left = False
        self.own = {id(p) for p in module.parameters(recurse=False) if p.requires_grad}

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if torch.is_inference_mode_enabled():
            return self.original(*arguments, **options)
        with _Looking(self):
            return self.original(*arguments, **options)

    def is_own(self, value: Any) -> bool:
        """Whether a value is a trainable parameter of the module itself."""
        return isinstance(value, Tensor) and id(value) in self.own


class _Looking(TorchFunctionMode):
    def __init__(self, joint: FunctionalJoint) -> None:
        super().__init__()
        self.joint = joint
        self.views: dict[int, tuple[Tensor, Tensor, View]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        found = self._found(func, args) if not options else None
        if found is None:
            result = func(*args, **options)
            if func in _VIEWS:
                for view in result if isinstance(result, (tuple, list)) else (result,):
                    if not self._follow(view, args) and args and self._is_own(args[0]):
                        self.joint.left = True
            elif self.joint.noting is not None:
                self.joint.left |= isinstance(result, Tensor) and any(map(self._is_own, args))
            elif torch.is_grad_enabled() and _is_new(result, args):
                self._leave((*args, *options.values()))
            return result
        rule, x, params = found
        if self.joint.noting is not None:
            self.joint.noting(x)
            return func(*args)
        return self.joint.session.use(self.joint.name, rule, x, *params)

    def _found(
        self, func: Any, args: tuple[Any, ...]
    ) -> tuple[Rule, Tensor, tuple[Tensor | None, ...]] | None:
        """Return the rule of a call with a parameter of the module's own, its input and params."""
        joint = self.joint
        if len(args) < 2 or not isinstance(args[0], Tensor):
            return None
        if func in _SUMS or func in _PRODUCTS:
            x, param = args[:2]
            if self._is_own(x) and not self._is_own(param):
                x, param = param, x
            if self._is_own(param) and not self._is_own(x) and _elementwise(joint, x, param):
                whole, view = self._origin(param)
                return ElementwiseRule(product=func in _PRODUCTS, view=view), x, (whole,)
        elif func in _EXPANSIONS and self._is_own(args[0]):
            sizes = args[1:] if func is Tensor.expand else args[1].shape
            x, param = _nothing(args[0], sizes), args[0]
            if joint.session.recorder.takes_tokens and _elementwise(joint, x, param):
                whole, view = self._origin(param)
                return ElementwiseRule(product=False, view=view), x, (whole,)
        elif func is F.linear and joint.is_own(args[1]):
            return LinearRule(), args[0], (args[1], args[2] if len(args) > 2 else None)
        elif func in _MATMULS and joint.is_own(args[1]) and args[1].ndim == 2 <= args[0].ndim:
            return LinearRule(turned=True), args[0], (args[1], None)
        elif func is F.embedding and len(args) == 2 and joint.is_own(args[1]):
            return EmbeddingRule(padding=None), args[0], (args[1],)
        return None

    def _is_own(self, value: Any) -> bool:
        """Whether a value is a parameter of the module's own, or a view of one without hooks."""
        return self.joint.is_own(value) or (id(value) in self.views and not value._backward_hooks)

    def _origin(self, value: Tensor) -> tuple[Tensor, View | None]:
        """Return a parameter, and what makes of it this view."""
        _, whole, view = self.views.get(id(value), (None, value, None))
        return whole, view

    def _leave(self, values: tuple[Any, ...]) -> None:
        """Tell the recorder of parameters that are used in a way that nobody looks into."""
        session = self.joint.session
        origins = [self._origin(v)[0] for v in values if isinstance(v, Tensor) and v.requires_grad]
        names = tuple(session.names[id(p)] for p in origins if id(p) in session.names)
        if names and not session.inside and not session.following:
            session.recorder.left(names)

    def _follow(self, result: Any, args: tuple[Any, ...]) -> bool:
        """Know a view of a parameter again; an index of whole numbers makes none, but a copy."""
        if not args or not self._is_own(args[0]):
            return False
        whole, _ = self._origin(args[0])
        viewed = result._base is (whole._base if whole._is_view() else whole)
        if viewed and (result.grad_fn is not None or self.joint.noting is not None):
            self.views[id(result)] = result, whole, View.of(result, whole)
        return bool(viewed)


def _is_new(result: Any, args: tuple[Any, ...]) -> bool:
    """Whether a function has given a tensor with a gradient that it was not given itself."""
    return getattr(result, "requires_grad", False) and not any(result is value for value in args)


def _nothing(param: Tensor, sizes: tuple[Any, ...]) -> Tensor:
    """Return zeros of the expanded shape: an expanded parameter is what is added to them."""
    return param.new_zeros(()).expand(param.detach().expand(*sizes).shape)


def _elementwise(joint: FunctionalJoint, x: Any, param: Any) -> bool:
    axis = joint.session.axes.get(joint.name, 0)
    return isinstance(x, Tensor) and fits_elementwise(x, param, axis)
