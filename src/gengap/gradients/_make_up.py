"""What of a model decides which rules its layers get."""

from operator import is_

from torch import Tensor, nn

MakeUp = list[Tensor | bool]


def make_up(model: nn.Module) -> MakeUp:
    """Return the parameters to train, and which BatchNorm layers are in training mode.

    One walk through the modules, in every batch.
    """
    found: MakeUp = []
    for module in model.modules():
        for p in module._parameters.values():
            if p is not None and p.requires_grad:
                found.append(p)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            found.append(module.training)
    return found


def has_batch_norm(found: MakeUp) -> bool:
    """Whether there is a BatchNorm layer."""
    return any(isinstance(one, bool) for one in found)


def is_same(left: MakeUp, right: MakeUp) -> bool:
    """Whether two are the same, parameters by identity."""
    return len(left) == len(right) and all(map(is_, left, right))
