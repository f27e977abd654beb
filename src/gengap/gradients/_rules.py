"""Which layers have a rule, and how their forward is put through it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

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


_SITES = [
    Site("forward", nn.Linear.forward, _linear),
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
