"""Whether a split's targets, a loss of the library and a model's outputs fit together."""

from torch import Tensor

from gengap.data import Split

from ._losses import NAMED, Loss, cross_entropy, squared_error


def check_targets(split: Split, loss: Loss) -> None:
    """Require targets that a loss of the library takes; a caller's own loss takes what it likes.

    Raises:
        ValueError: Classes meet the squared error, real values the cross-entropy, or real values
            are not in columns.
    """
    real = split.targets.is_floating_point()
    if (loss is cross_entropy and real) or (loss is squared_error and split.num_classes):
        kind, other = ("real values", squared_error) if real else ("classes", cross_entropy)
        raise ValueError(
            f"`loss` must fit the targets of the split, which are {kind}; got {_name(loss)!r}. "
            f"Take {_name(other)!r}."
        )
    if loss is squared_error and split.targets.ndim == 1:
        raise ValueError(
            f"`split` must have real targets of shape [n, k]; got {tuple(split.targets.shape)}. "
            "Give `targets[:, None]`."
        )


def check_outputs(outputs: Tensor, split: Split, loss: Loss) -> None:
    """Require outputs [b, ...] of a few examples that a loss of the library sets against targets.

    The squared error takes outputs of the targets' shape; cross-entropy an output a class, or
    more, for every target.

    Raises:
        ValueError: They have another shape.
    """
    target, shape = tuple(split.targets.shape[1:]), tuple(outputs.shape)
    if loss is squared_error and shape[1:] != target:
        count = " x ".join(map(str, target))
        rule = f"{count} outputs an example, one a target of the split"
    elif loss is cross_entropy and not _is_an_output_a_class(shape[1:], target, split):
        each = "a target" if target else "an example"
        rule = f"{_num_classes(split)} outputs {each}, one a class of the split"
    else:
        return
    raise ValueError(
        f"`model` must give {rule}; got outputs of shape {shape} for {shape[0]} examples."
    )


def _is_an_output_a_class(shape: tuple[int, ...], target: tuple[int, ...], split: Split) -> bool:
    return bool(shape) and shape[:-1] == target and shape[-1] >= _num_classes(split)


def _num_classes(split: Split) -> int:
    return split.num_classes or int(split.targets.max()) + 1


def _name(loss: Loss) -> str:
    return next(name for name, one in NAMED.items() if one is loss)
