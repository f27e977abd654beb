"""Which layers have a rule, and how their forward is put through it."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.instancenorm import _InstanceNorm

from ._convolution_rule import ConvolutionRule
from ._embedding_rule import EmbeddingRule
from ._functional_use import FunctionalJoint
from ._linear_rule import LinearRule
from ._local_use import LocalJoint
from ._normalization_rules import BatchNormRule, GroupNormRule, LayerNormRule, RMSNormRule
from ._recurrent import differentiate_recurrent
from ._rule import Rule
from ._use import Session
from ._vectorized import differentiate_vectorized

Forward = Callable[..., Tensor]
Joint = Callable[[Session, str, nn.Module], Forward | None]


@final
@dataclass(frozen=True)
class Site:
    """Where a kind of layer is entered.

    Attributes:
        attribute: The method that is replaced on the instance.
        original: The function that the class must have there for the rule to hold.
        joint: Makes the replacement, or None where the layer's settings rule it out.
    """

    attribute: str
    original: Any
    joint: Joint


def _linear(session: Session, name: str, module: nn.Module, *, turned: bool = False) -> Forward:
    rule, own = LinearRule(turned), module._parameters

    def forward(input: Tensor) -> Tensor:
        return session.use(name, rule, input, own["weight"], own["bias"])

    return forward


def _convolution(session: Session, name: str, module: nn.Module) -> Forward:
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))

    def forward(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        pads = tuple(module._reversed_padding_repeated_twice)
        even = module.padding_mode == "zeros" and pads[::2] == pads[1::2]
        rule = ConvolutionRule(
            stride=module.stride,
            padding=pads[::-2] if even else (0,) * len(module.stride),
            dilation=module.dilation,
            output_padding=(0,) * len(module.stride),
            groups=module.groups,
        )
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = input if even else F.pad(input, pads, mode=mode)
        if x.ndim != weight.ndim:
            return rule.forward(x.unsqueeze(0), weight, bias)[0].squeeze(0)
        return session.use(name, rule, x, weight, bias)

    return forward


def _transposed(session: Session, name: str, module: nn.Module) -> Forward:
    assert isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    own, dims = module._parameters, len(module.stride)

    def forward(input: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight, padding = own["weight"], module.padding
        assert weight is not None and isinstance(padding, tuple)
        step, sides, kernel = (list(t) for t in (module.stride, padding, module.kernel_size))
        spread = list(module.dilation)
        extra = module._output_padding(input, output_size, step, sides, kernel, dims, spread)
        rule = ConvolutionRule(
            stride=module.stride,
            padding=padding,
            dilation=module.dilation,
            transposed=True,
            output_padding=tuple(extra),
            groups=module.groups,
        )
        if input.ndim != weight.ndim:
            return rule.forward(input.unsqueeze(0), weight, own["bias"])[0].squeeze(0)
        return session.use(name, rule, input, weight, own["bias"])

    return forward


def _affine(rule_of: Callable[[nn.Module], Rule | None]) -> Joint:
    """Return the joint of a layer `forward(input)` with a weight and perhaps a bias.

    Its settings and statistics are read in every call: they may be others than before.
    """

    def joint(session: Session, name: str, module: nn.Module) -> Forward | None:
        own = module._parameters
        if rule_of(module) is None:
            return None
        names = [n for n in ("weight", "bias") if n in own]

        def forward(*arguments: Tensor, **named: Tensor) -> Tensor:
            (input,) = (*arguments, *named.values())
            rule = rule_of(module)
            single = isinstance(module, _InstanceNorm) and input.ndim == module._get_no_batch_dim()
            if rule is None or single:
                found: Tensor = type(module).forward(module, input)
                return found
            return session.use(name, rule, input, *(own[n] for n in names))

        return forward

    return joint


def _batch_norm(module: nn.Module) -> Rule | None:
    assert isinstance(module, nn.modules.batchnorm._NormBase)
    if module.training or module.running_mean is None or module.running_var is None:
        return None
    return BatchNormRule(mean=module.running_mean, variance=module.running_var, eps=module.eps)


def _instance_norm(module: nn.Module) -> Rule | None:
    assert isinstance(module, nn.modules.batchnorm._NormBase)
    if module.track_running_stats:
        return _batch_norm(module)
    return GroupNormRule(groups=module.num_features, eps=module.eps)


def _group_norm(module: nn.Module) -> Rule:
    assert isinstance(module, nn.GroupNorm)
    return GroupNormRule(groups=module.num_groups, eps=module.eps)


def _layer_norm(module: nn.Module) -> Rule:
    assert isinstance(module, nn.LayerNorm)
    return LayerNormRule(shape=tuple(module.normalized_shape), eps=module.eps)


def _rms_norm(module: nn.Module) -> Rule:
    assert isinstance(module, nn.RMSNorm)
    return RMSNormRule(shape=tuple(module.normalized_shape), eps=module.eps)


def _embedding(module: nn.Module) -> Rule | None:
    assert isinstance(module, nn.Embedding)
    if module.max_norm is not None:
        return None
    return EmbeddingRule(padding=module.padding_idx, sparse=module.sparse)


_SITES = [
    Site("forward", nn.Linear.forward, _linear),
    Site("_conv_forward", nn.Conv1d._conv_forward, _convolution),
    Site("_conv_forward", nn.Conv2d._conv_forward, _convolution),
    Site("_conv_forward", nn.Conv3d._conv_forward, _convolution),
    Site("forward", nn.ConvTranspose1d.forward, _transposed),
    Site("forward", nn.ConvTranspose2d.forward, _transposed),
    Site("forward", nn.ConvTranspose3d.forward, _transposed),
    Site("forward", nn.modules.batchnorm._BatchNorm.forward, _affine(_batch_norm)),
    Site("forward", nn.modules.instancenorm._InstanceNorm.forward, _affine(_instance_norm)),
    Site("forward", nn.GroupNorm.forward, _affine(_group_norm)),
    Site("forward", nn.LayerNorm.forward, _affine(_layer_norm)),
    Site("forward", nn.RMSNorm.forward, _affine(_rms_norm)),
    Site("forward", nn.Embedding.forward, _affine(_embedding)),
]


_RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)


def find_joint(
    session: Session, name: str, module: nn.Module, *, whole: bool
) -> tuple[str, Any] | None:
    """Return which attribute of a module is to be replaced, and by what; None where none is.

    A layer with a rule is put through it; one without, that has all it needs in itself, is
    differentiated by itself; a module that has both parameters and layers of its own is watched
    for the functions that it gives its parameters to.
    """
    if whole:
        return "forward", _local(session, name, module)
    if not _has_own(module):
        return None
    site = find_site(module)
    if site is None:
        return "forward", FunctionalJoint(session, name, module)
    replacement = site.joint(session, name, module)
    return None if replacement is None else (site.attribute, replacement)


def find_site(module: nn.Module) -> Site | None:
    """Return the site of a layer with a rule and parameters to train; None where it is none."""
    if not _has_own(module) or _is_parametrized(module) or "weight" not in module._parameters:
        return None
    kind = type(module)
    if isinstance(module, _CONVOLUTIONS) and kind.forward not in _CONVOLVING:
        return None  # it may call something else
    site = _found.get(kind)
    if site is None or getattr(kind, site.attribute, None) is not site.original:
        sites = (*_SITES, *_of_transformers(kind))
        site = next((s for s in sites if getattr(kind, s.attribute, None) is s.original), None)
        _found[kind] = site
    return site


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONVOLVING = {kind.forward for kind in _CONVOLUTIONS}
_found: "weakref.WeakKeyDictionary[type, Site | None]" = weakref.WeakKeyDictionary()


def _of_transformers(kind: type) -> list[Site]:
    """Return the site of the linear layer of GPT-2, whose weight is [d, o], if it is that."""
    forward = getattr(kind, "forward", None)
    name = f"{getattr(forward, '__module__', '')}.{getattr(forward, '__qualname__', '')}"
    if name != "transformers.pytorch_utils.Conv1D.forward":
        return []
    return [Site("forward", forward, partial(_linear, turned=True))]


def is_whole(module: nn.Module) -> bool:
    """Whether a module and all in it are differentiated in one piece."""
    if _is_parametrized(module) or isinstance(module, nn.MultiheadAttention):
        return any(p.requires_grad for p in module.parameters())
    if not _has_own(module):
        return False
    if isinstance(module, (nn.ParameterList, nn.ParameterDict)):
        return False
    if find_site(module) is not None:
        return False
    return not any(p.requires_grad for child in module.children() for p in child.parameters())


def _has_own(module: nn.Module) -> bool:
    return any(p is not None and p.requires_grad for p in module._parameters.values())


def _is_parametrized(module: nn.Module) -> bool:
    return "parametrizations" in module._modules


def _local(session: Session, name: str, module: nn.Module) -> LocalJoint:
    recurrent = type(module) in _RECURRENT
    way = differentiate_recurrent if recurrent else differentiate_vectorized
    return LocalJoint(session, name, module, way)
