"""The maximum-entropy conditions of a network's features, layer by layer."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gengap._checks import check_count, check_positive
from gengap._streams import streams
from gengap.data import Split
from gengap.models import module_outputs

from ._correlation import class_correlation
from ._linear_probe import fit_probe

_UNITS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid)
_CHUNK = 500


@final
@dataclass(frozen=True, kw_only=True)
class LayerConditions:
    """How far the features T of one layer meet the two conditions.

    Attributes:
        name: Of the module.
        features: Number of features.
        correlation: Mean absolute correlation of two features within a class, in [0, 1]; the
            second condition, components independent given the class, asks for 0.
        chance: What independent features would show on so many examples: the same after each
            feature was permuted within the classes.
        probe_loss: Cross-entropy in nats, on other examples, of softmax regression on T; the first
            condition, that T keeps what is known of the class, asks for as little as possible.
        probe_accuracy: Its accuracy there.
        probe_converged: Whether the regression reached its optimum.
    """

    name: str
    features: int
    correlation: float
    chance: float
    probe_loss: float
    probe_accuracy: float
    probe_converged: bool


@final
@dataclass(frozen=True, kw_only=True)
class MaximumEntropy:
    r"""The conditions under which softmax on features is the maximum-entropy classifier.

    Attributes:
        residual: Norm of $\frac1n \sum_i (T(x_i), 1) (e_{y_i} - p(x_i))^\top$: the features'
            means with the labels less those with the predictions. 0 at the optimum without
            regularizers; $\lambda \|W\|$ at that with weight decay $\lambda$.
        relative_residual: The same over the norm of the first term.
        layers: One entry a layer, from input to output.
    """

    residual: float
    relative_residual: float
    layers: tuple[LayerConditions, ...]


@torch.no_grad()
def maximum_entropy(
    model: nn.Module,
    split: Split,
    held_out: Split,
    *,
    layers: tuple[str, ...] | None = None,
    pairs_of: int = 256,
    ridge: float = 1e-3,
    seed: int = 0,
) -> MaximumEntropy:
    """Measure moment matching at the output, and both conditions at every layer.

    Not invariant: correlations do not change with the scale of a unit, but do with any mixing of
    units; probes do not change with an invertible linear map but for the ridge. Cost: a forward
    pass over both splits, a softmax regression a layer.

    Args:
        model: A classifier whose last module is linear; read in evaluation mode and left alone.
        split: The examples it was trained on.
        held_out: Other examples, on which the probes are judged.
        layers: Names of modules; None takes all activations that are modules, in order.
        pairs_of: Correlations are those among so many features, drawn where there are more.
        ridge: L2 coefficient of the probes, on standardized features. Positive.
        seed: Of the draws.

    Raises:
        ValueError: The data have no classes, or the outputs do not come from an nn.Linear.

    Source:
        Zheng, Sang and Xu (2017), arXiv:1711.07758, who state conditions and prove
        theorems; these quantities in their place are ours.
    """
    check_count("pairs_of", pairs_of, least=2)
    check_positive("ridge", ridge)
    if split.num_classes is None or held_out.num_classes != split.num_classes:
        raise ValueError("`split` and `held_out` must have the same classes; got real targets.")
    names = activations(model) if layers is None else layers
    if not names:
        raise ValueError("`layers` must name a module; the network has no activation modules.")
    kept, features, logits = _read(model, split, names)
    other, _, _ = _read(model, held_out, names)
    generator = streams(seed)("features")
    found = []
    for name in names:
        train, test = kept[name], other[name]
        picked = torch.randperm(train.shape[1], generator=generator)[:pairs_of].sort().values
        correlation, chance = class_correlation(
            train[:, picked], split.targets, seed=seed, name=name
        )
        probe = fit_probe(train, split.targets, num_classes=split.num_classes, ridge=ridge)
        found.append(
            LayerConditions(
                name=name,
                features=train.shape[1],
                correlation=correlation,
                chance=chance,
                probe_loss=probe.loss(test, held_out.targets),
                probe_accuracy=probe.accuracy(test, held_out.targets),
                probe_converged=probe.converged,
            )
        )
    residual, relative = moment_residual(features, logits, split.targets)
    return MaximumEntropy(residual=residual, relative_residual=relative, layers=tuple(found))


def activations(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that are activations, in the order of their names."""
    return tuple(name for name, module in model.named_modules() if isinstance(module, _UNITS))


def moment_residual(features: Tensor, logits: Tensor, targets: Tensor) -> tuple[float, float]:
    r"""Return the norm of $\frac1n \sum_i (T_i, 1)(e_{y_i} - p_i)^\top$, plain and relative.

    Args:
        features: T, [n, d].
        logits: Outputs, [n, c].
        targets: Classes, [n].
    """
    ones = torch.ones(len(features), 1, dtype=torch.float64)
    t = torch.cat([features.double(), ones], 1)
    labels = F.one_hot(targets, logits.shape[1]).double()
    seen = t.T @ labels / len(t)
    missed = t.T @ (labels - logits.double().softmax(1)) / len(t)
    return float(missed.norm()), float(missed.norm() / seen.norm())


def _read(
    model: nn.Module, split: Split, names: tuple[str, ...]
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the features of every layer [n, d], the inputs of the last layer, and the logits."""
    was_training = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    last: dict[str, Tensor] = {}
    parts: list[tuple[dict[str, Tensor], Tensor, Tensor]] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        last["input"], last["output"] = inputs[0], output

    handles = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, nn.Linear)]
    try:
        model.eval()
        for x, _ in split.batches(_CHUNK):
            last.clear()
            with module_outputs(model, names) as found:
                logits = model(x.to(device))
            if not (last and last["output"] is logits):
                raise ValueError(
                    "`model` must end in an nn.Linear, whose inputs are the features; got "
                    f"{type(model).__name__}."
                )
            absent = [name for name in names if name not in found]
            if absent:
                raise ValueError(f"`layers` must run in a forward pass; got {absent[0]!r}.")
            layers = {name: h.flatten(1).cpu() for name, h in found.items()}
            parts.append((layers, last["input"].cpu(), logits.cpu()))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in was_training:
            module.training = training
    joined = {name: torch.cat([layers[name] for layers, _, _ in parts]) for name in names}
    return joined, torch.cat([t for _, t, _ in parts]), torch.cat([o for _, _, o in parts])
