"""BatchNorm in training mode, in which no example has a gradient of its own."""

from collections.abc import Mapping

from torch import nn


def batch_statistics_layer(model: nn.Module) -> str | None:
    """Return the name of a layer that normalizes by the batch's statistics, or None."""
    for name, layer in model.named_modules():
        if _mixes(layer):
            return name
    return None


def check_no_batch_statistics(module: nn.Module, names: Mapping[int, str]) -> None:
    """Require that no layer within a module normalizes by the statistics of the batch.

    Args:
        module: What is called.
        names: The id of a module to its name.

    Raises:
        ValueError: One does; the sentence says what to do.
    """
    for layer in module.modules():
        if _mixes(layer):
            why = "is in training mode: call `.eval()` on the BatchNorm layers, use"
            if layer.running_mean is None:
                why = "has no running statistics: make it with `track_running_stats=True`, use"
            raise ValueError(
                "`model` must not mix the examples of a batch, but its BatchNorm layer "
                f"{names[id(layer)]!r} {why} GroupNorm, or take "
                "gengap.gradients.minibatch_coherence, which measures whole batches."
            )


def _mixes(layer: nn.Module) -> bool:
    norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return norm and (layer.training or layer.running_mean is None)
