"""What must hold before a network is trained on a split."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gengap._copies import copy_of
from gengap.data import Source, Split, check_classes
from gengap.gradients import batch_statistics_layer
from gengap.models import module_outputs
from gengap.risk import wrong_kind

from ._dropout import seed_dropout
from ._held_out import number_trained
from ._lane import Lane
from ._recipe import Recipe
from ._seeding import own_draws


def check_fit(model: nn.Module, split: Split, recipe: Recipe, *, what: str) -> None:
    """Require that `model` takes the examples of `split` and gives outputs that fit its targets.

    Raises:
        ValueError: They do not fit each other; the sentence says how.
    """
    if (split.num_classes is None) == (recipe.loss == "cross_entropy"):
        kind = "real values" if split.num_classes is None else "classes"
        raise ValueError(
            f"`loss` of the recipe must fit the targets of the {what}, which are {kind}; got "
            f"{recipe.loss!r}."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("`model` must have parameters to train; got none.")
    if recipe.dropout:
        seed_dropout(copy_of(model), recipe.dropout)
    x, y = split.batch(torch.arange(min(2, len(split))))
    if split.num_classes is None and y.ndim != 2:
        raise ValueError(
            f"Real targets of the {what} must have shape [n, k]; got {tuple(split.targets.shape)}. "
            "Give `targets[:, None]`."
        )
    if not (_all_finite(x) and _all_finite(split.inputs) and _all_finite(split.targets)):
        raise ValueError(f"The {what} must hold finite numbers; got NaN or infinity.")
    outputs = _outputs(model, x, what)
    width = split.num_classes or math.prod(y.shape[1:])
    if tuple(outputs.shape) != (len(x), width):
        per = "one a class" if split.num_classes else "one a target"
        raise ValueError(
            f"`model` must give {width} outputs an example, {per} of the {what}; got outputs of "
            f"shape {tuple(outputs.shape)} for {len(x)} examples."
        )


def check_lanes(model: nn.Module, lanes: Sequence[Lane], recipe: Recipe) -> None:
    """Require that `model` fits the splits of all lanes, and the halves of each lane each other.

    Raises:
        ValueError: They do not fit each other; the sentence says how.
        DataError: The classes of two halves have other names or another order.
    """
    for lane in {id(lane.split): lane for lane in lanes}.values():
        check_training(model, lane.split, recipe)
    for test in {id(lane.test): lane.test for lane in lanes}.values():
        if test is not None:
            check_fit(model, test, recipe, what="test split")
    for lane in lanes:
        if lane.test is not None:
            check_classes(lane.split, lane.test)


def check_training(model: nn.Module, split: Split, recipe: Recipe) -> None:
    """Require that `model` can be trained on `split` by the recipe.

    Raises:
        ValueError: They do not fit each other; the sentence says how.
    """
    check_fit(model, split, recipe, what="train split")
    _check_no_hooks_on_parameters(model)
    _check_robust_mean(model, split, recipe)
    _check_regularizers(model, split, recipe)
    _check_last_batch(model, split, recipe)


def _check_no_hooks_on_parameters(model: nn.Module) -> None:
    """Refuse what would change gradients: training differentiates by copies that have no hooks.

    Raises:
        ValueError: A parameter has one.
    """
    for name, p in model.named_parameters():
        if p._backward_hooks or p._post_accumulate_grad_hooks:
            raise ValueError(
                "`model` must have no hooks on its parameters, for training goes past them; got "
                f"one on {name!r}. Change what the module computes, or freeze the parameter."
            )


def _check_robust_mean(model: nn.Module, split: Split, recipe: Recipe) -> None:
    """Require of a robust mean over examples that there is something to clip.

    Raises:
        ValueError: The percentile lies within the first example of a batch: it is the plain mean;
            or BatchNorm leaves no example a gradient of its own.
    """
    mean = recipe.robust_mean
    if mean is None:
        return
    batch = min(recipe.batch_size, number_trained(len(split), recipe))
    if words := mean.idle(batch):
        raise ValueError(f"`clip_percent` {words}")
    twin = copy_of(model)
    twin.train()
    if (name := batch_statistics_layer(twin)) is not None:
        raise ValueError(
            f"`optimizer` must not be {recipe.optimizer!r} with BatchNorm (layer {name!r}), which "
            "mixes the examples whose gradients are to be clipped one by one. Take GroupNorm, or "
            "'rolling_median_of_three', which looks at whole batches."
        )


def _check_regularizers(model: nn.Module, split: Split, recipe: Recipe) -> None:
    """Require that every penalty of the recipe can be computed for the network.

    Raises:
        ValueError: It reads a module that the network lacks or does not run, or is no number.
    """
    x = split.batch(torch.arange(min(2, len(split))))[0]
    for regularizer in recipe.regularizers:
        with module_outputs(model, regularizer.layers) as features:
            outputs = _outputs(model, x, "train split")
        absent = [name for name in regularizer.layers if name not in features]
        if absent:
            raise ValueError(
                f"`regularizers` must read modules that give a tensor when the network runs; got "
                f"{absent[0]!r}."
            )
        shape = tuple(regularizer.penalty(outputs, features).shape)
        if shape:
            raise ValueError(
                f"`regularizers` must give one number a batch; {regularizer.label} gave a tensor "
                f"of shape {shape}."
            )


def _check_last_batch(model: nn.Module, split: Split, recipe: Recipe) -> None:
    """Require that a model with BatchNorm takes the last batch of an epoch.

    Raises:
        ValueError: That batch has one example, of which there is no variance.
    """
    n = number_trained(len(split), recipe)
    if n % recipe.batch_size != 1 and recipe.batch_size > 1:
        return
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if not any(isinstance(module, norms) for module in model.modules()):
        return
    twin = copy_of(model)
    twin.train()
    x = split.batch(torch.zeros(1, dtype=torch.int64))[0]
    try:
        with torch.no_grad(), own_draws(0):
            twin(x.to(next(twin.parameters()).device))
    except ValueError as error:
        raise ValueError(
            "`batch_size` must leave no batch of one example to a model with BatchNorm; got "
            f"{recipe.batch_size} for {n} examples. Take another batch size."
        ) from error


def _all_finite(x: Tensor | Source) -> bool:
    """Return whether a tensor holds neither NaN nor infinity; reads it once, makes no copy."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or not x.numel():
        return True
    low, high = x.aminmax()  # NaN wins either
    return bool(low.isfinite() & high.isfinite())


def _outputs(model: nn.Module, x: torch.Tensor, what: str) -> torch.Tensor:
    """Run the model in evaluation mode, leaving its mode and the global generator alone."""
    was_training = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    try:
        model.eval()
        with torch.no_grad(), own_draws(0):
            found = model(x.to(device))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        raise ValueError(
            f"`model` must take examples of shape {tuple(x.shape[1:])} of the {what}; it raised "
            f"{type(error).__name__}: {reason.rstrip('.')}.{wrong_kind(model, x.to(device))}"
        ) from error
    finally:
        for module, training in was_training:
            module.training = training
    return one_tensor(found)


def one_tensor(found: object) -> Tensor:
    """Return what a network gave, where it is one tensor.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(found, Tensor):
        raise ValueError(
            f"`model` must return one tensor of outputs; got {type(found).__name__}. Wrap it in a "
            "module that returns the outputs alone."
        )
    return found
