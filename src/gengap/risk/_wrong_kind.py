"""Whole numbers for a network that takes floats, or the reverse."""

import torch
from torch import Tensor, nn

from gengap._streams import own_draws


def wrong_kind(model: nn.Module, x: Tensor) -> str:
    """Return what to do where a model that raised takes the other kind of numbers; else ''.

    Args:
        model: The network; it is called once more.
        x: Examples that it did not take.
    """
    whole = not x.is_floating_point()
    if not whole and bool((x != x.round()).any()):
        return ""
    try:
        with torch.no_grad(), own_draws(0):
            model(x.float() if whole else x.long())
    except Exception:
        return ""
    if whole:
        return " It takes floats: give the inputs as such."
    return (
        ' It takes whole numbers: read them with `gengap.data.as_split(..., layout="tokens")`, or '
        "with `--tokens` on the command line."
    )
