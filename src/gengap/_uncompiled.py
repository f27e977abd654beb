"""The module that `torch.compile` has wrapped."""

from torch import nn


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the module in a wrapper of `torch.compile`; another one as it is.

    Calls of the wrapper are calls of what is in it, whose parameters have the names one knows.
    """
    inner = model._modules.get("_orig_mod") if type(model).__name__ == "OptimizedModule" else None
    return model if inner is None else inner
