"""What must hold before a network is trained on a split."""

import math

import torch
from torch import nn

from gengap.data import Split

from ._recipe import Recipe


def check_fit(model: nn.Module, split: Split, recipe: Recipe, *, what: str) -> None:
    """Require that `model` takes the examples of `split` and gives outputs that fit its targets.

    Raises:
        ValueError: One sentence: the thing, the rule, what came.
    """
    if (split.num_classes is None) == (recipe.loss == "cross_entropy"):
        kind = "real values" if split.num_classes is None else "classes"
        raise ValueError(
            f"`loss` of the recipe must fit the targets of the {what}, which are {kind}; got "
            f"{recipe.loss!r}."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("`model` must have parameters to train; got none.")
    x, y = split.batch(torch.arange(min(2, len(split))))
    if not bool(x.isfinite().all()):
        raise ValueError(f"The {what} must hold finite numbers; got NaN or infinity.")
    outputs = _outputs(model, x, what)
    width = split.num_classes or math.prod(y.shape[1:])
    if tuple(outputs.shape) != (len(x), width):
        per = "one a class" if split.num_classes else "one a target"
        raise ValueError(
            f"`model` must give {width} outputs an example, {per} of the {what}; got outputs of "
            f"shape {tuple(outputs.shape)} for {len(x)} examples."
        )


def _outputs(model: nn.Module, x: torch.Tensor, what: str) -> torch.Tensor:
    """Run the model in evaluation mode, leaving its mode and the global generator alone."""
    was_training = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return model(x.to(device))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        raise ValueError(
            f"`model` must take examples of shape {tuple(x.shape[1:])} of the {what}; it raised "
            f"{type(error).__name__}: {reason.rstrip('.')}."
        ) from error
    finally:
        for module, training in was_training:
            module.training = training
