"""What must hold before several processes train one network."""

import hashlib

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gengap.data import Ranks

from ._held_out import number_trained
from ._lane import Lane
from ._recipe import Recipe


def check_ranks(model: nn.Module, lanes: list[Lane], recipe: Recipe, ranks: Ranks) -> None:
    """Require that the run can be shared, and that every rank was given the same.

    Raises:
        ValueError: One sentence: the thing, the rule, what came.
    """
    if ranks.world == 1:
        return
    if len(lanes) > 1:
        raise ValueError(
            f"`lanes` must be one where {ranks.world} processes train together; got {len(lanes)}. "
            "Train them one after the other with `fit`, or together in one process."
        )
    lane = lanes[0]
    _check_recipe(model, len(lane.split), recipe, ranks)
    ranks.check_same("seed", str(lane.seed))
    ranks.check_same("recipe", repr(recipe))
    ranks.check_same("split", _text(lane.split.targets))
    ranks.check_same("test", _text(lane.test.targets) if lane.test else "None")
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    ranks.check_same("model", str(shapes))


def _check_recipe(model: nn.Module, n: int, recipe: Recipe, ranks: Ranks) -> None:
    world = ranks.world
    if recipe.batch_size < world:
        raise ValueError(
            f"`batch_size` must be at least the number of ranks, which share each batch; got "
            f"{recipe.batch_size} for {world}."
        )
    if recipe.regularizers:
        raise ValueError(
            f"`regularizers` must be empty where {world} processes train together, as a penalty "
            f"needs the whole batch; got {recipe.regularizers[0].label!r}."
        )
    trained = number_trained(n, recipe)
    last = trained % recipe.batch_size
    together = recipe.robust_mean or any(isinstance(m, _BatchNorm) for m in model.modules())
    if 0 < last < world and together:
        raise ValueError(
            f"`batch_size` must leave every rank an example of the last batch, which BatchNorm "
            f"and robust means take together; got {recipe.batch_size} for {trained} examples and "
            f"{world} ranks."
        )


def _text(targets: Tensor) -> str:
    """Return what stands for targets: their number and a digest."""
    digest = hashlib.blake2b(targets.cpu().contiguous().numpy().tobytes(), digest_size=8)
    return f"{len(targets)} targets, digest {digest.hexdigest()}"
