"""Networks of torchvision and timm, by name."""

import importlib
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn

LIBRARIES = ("torchvision", "timm")
_WITH_AUXILIARY_HEADS = ("inception_v3", "googlenet")


def is_outside(name: str) -> bool:
    """Return whether a name is one of another library's networks: `timm:resnet18`."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


def check_outside(name: str) -> ModuleType:
    """Return the library of a network's name, which is there and knows the network.

    Raises:
        ImportError: The library is not there.
        ValueError: It has no network of that name.
    """
    library, _, model = name.partition(":")
    found = _imported(library)
    known = found.models.list_models() if library == "torchvision" else found.list_models()
    if model not in known:
        raise ValueError(f"`model` must be a network that {library} knows; got {model!r}.")
    return found


def outside(name: str, input_shape: tuple[int, ...], num_classes: int, **options: Any) -> nn.Module:
    """Return a network of torchvision or timm, sized to the data.

    Auxiliary heads, which give several outputs while training, are left out. Nothing is fetched
    unless the options ask for trained weights; those of torchvision are read as plain tensors.

    Args:
        name: `torchvision:inception_v3`, `timm:resnet18`.
        input_shape: Channels, height and width; torchvision's networks take three channels.
        num_classes: Outputs.
        **options: What the library's own builder takes, such as `dropout`; trained weights are
            `weights` (such as "DEFAULT") of torchvision, whose classes must then be those of the
            data, and `pretrained` of timm.

    Raises:
        ImportError: The library is not there.
        ValueError: It has no network of that name, or the data or the options do not fit.
    """
    found = check_outside(name)
    library, _, model = name.partition(":")
    if library == "timm":
        own = {"num_classes": num_classes, "in_chans": input_shape[0]}
        return cast(nn.Module, found.create_model(model, **own | options))
    if input_shape[0] != 3:
        raise ValueError(
            f"`model` {name!r} must be given images of three channels; got {input_shape[0]}."
        )
    own = {"num_classes": num_classes}
    if model in _WITH_AUXILIARY_HEADS:
        own |= {"aux_logits": False, "init_weights": "weights" not in options}
    chosen = options.pop("weights", None)
    trained = None if chosen is None else _weights(found, model, chosen, num_classes)
    if trained is not None and model in _WITH_AUXILIARY_HEADS:
        own["transform_input"] = True  # as the weights were trained
    network = cast(nn.Module, found.models.get_model(model, **own | options))
    if trained is not None:
        network.load_state_dict({k: v for k, v in trained.items() if "aux" not in k.lower()})
    return network


def _weights(
    torchvision: ModuleType, model: str, name: str, num_classes: int
) -> dict[str, torch.Tensor]:
    """Return trained weights of torchvision by name, fetched and checked; nothing is unpickled."""
    kinds = torchvision.models.get_model_weights(model)
    if name not in kinds.__members__:
        known = ", ".join(kinds.__members__)
        raise ValueError(f"`weights` of {model!r} must be one of {known}; got {name!r}.")
    weights = kinds[name]
    classes = len(weights.meta["categories"])
    if classes != num_classes:
        raise ValueError(
            f"`weights` {name!r} must be given data of their {classes} classes; got {num_classes}."
        )
    found = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return cast(dict[str, torch.Tensor], found)


def _imported(library: str) -> ModuleType:
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`{library}:...` needs the package {error.name!r}; install it with: pip install "
            "'gengap[vision]'."
        ) from error
    except (ImportError, OSError, RuntimeError) as error:  # torchvision built for another PyTorch
        first = str(error).strip().split("\n")[0]
        raise ImportError(
            f"`{library}` must be importable beside PyTorch {torch.__version__}; got: {first}"
        ) from error
