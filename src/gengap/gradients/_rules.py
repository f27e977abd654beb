"""Which layers have a rule, and how their forward is put through it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional as F

from ._convolution_rule import ConvolutionRule
from ._linear_rule import LinearRule
from ._use import Session

Forward = Callable[..., Tensor]
Joint = Callable[[Session, str, nn.Module], Forward]


@final
@dataclass(frozen=True)
class Site:
    """Where a kind of layer is entered.

    Attributes:
        attribute: The method that is replaced on the instance.
        original: The function that the class must have there for the rule to hold.
        joint: Makes the replacement.
    """

    attribute: str
    original: Any
    joint: Joint


def _linear(session: Session, name: str, module: nn.Module) -> Forward:
    rule, own = LinearRule(), module._parameters

    def forward(input: Tensor) -> Tensor:
        return session.use(name, rule, input, own["weight"], own["bias"])

    return forward


def _convolution(session: Session, name: str, module: nn.Module) -> Forward:
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
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

    def forward(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = input if even else F.pad(input, pads, mode=mode)
        if x.ndim != weight.ndim:
            return rule.forward(x.unsqueeze(0), weight, bias)[0].squeeze(0)
        return session.use(name, rule, x, weight, bias)

    return forward


_SITES = [
    Site("forward", nn.Linear.forward, _linear),
    Site("_conv_forward", nn.Conv1d._conv_forward, _convolution),
    Site("_conv_forward", nn.Conv2d._conv_forward, _convolution),
    Site("_conv_forward", nn.Conv3d._conv_forward, _convolution),
]


def find_site(module: nn.Module) -> Site | None:
    """Return the site of a layer whose parameters are its own; None where it has no rule."""
    if not any(p is not None and p.requires_grad for p in module._parameters.values()):
        return None
    if hasattr(module, "parametrizations"):
        return None
    for site in _SITES:
        if getattr(type(module), site.attribute, None) is site.original:
            return site
    return None
