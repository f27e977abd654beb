"""The table of parameters per example: can a network store its training set?"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gengap._checks import check_count
from gengap.data import Split

from ._alexnet import small_alexnet
from ._count import num_parameters
from ._inception import small_inception
from ._mlp import mlp

if TYPE_CHECKING:
    import pandas as pd

Builder = Callable[[], nn.Module]

_CIFAR10_SHAPE, _CIFAR10_EXAMPLES = (3, 28, 28), 50_000
_IMAGENET_EXAMPLES = 1_281_167
_IMAGENET = {
    "AlexNet": "alexnet",
    "VGG-16": "vgg16",
    "VGG-19": "vgg19",
    "ResNet-18": "resnet18",
    "ResNet-50": "resnet50",
    "ResNet-101": "resnet101",
    "ResNet-152": "resnet152",
    "Inception V3": "inception_v3",
}


def parameters_per_example(
    models: Mapping[str, Builder | nn.Module] | None = None, examples: Split | int | None = None
) -> "pd.DataFrame":
    """Return the number of parameters, of examples, and their ratio p/n, a row a model.

    Models are built on the meta device, without memory, where they allow it.

    Args:
        models: Zero-argument builders, or modules, by name. None means the networks of Zhang et
            al. on CIFAR-10, and known ImageNet networks where torchvision or timm can be
            imported.
        examples: The training split, or its number of examples n; needed with `models` and only
            with it.

    Returns:
        Columns model, data, parameters, examples, parameters_per_example.

    Examples:
        >>> table = parameters_per_example({"tiny": nn.Linear(3, 2)}, 4)
        >>> table["parameters_per_example"].tolist()
        [2.0]

    Source:
        Zhang et al. (2017), arXiv:1611.03530, and the authors' talk on it.
    """
    import pandas as pd

    if (models is None) != (examples is None):
        raise ValueError(
            f"`examples` must be given with `models` and only with it; got {examples!r}."
        )
    if models is None or examples is None:
        rows = [*_cifar10_rows(), *_imagenet_rows()]
    else:
        data, n = (examples.name, len(examples)) if isinstance(examples, Split) else ("", examples)
        check_count("examples", n)
        rows = [_row(name, data, model, n) for name, model in models.items()]
    return pd.DataFrame(
        rows, columns=["model", "data", "parameters", "examples", "parameters_per_example"]
    )


def _row(name: str, data: str, model: Builder | nn.Module, n: int) -> tuple[Any, ...]:
    p = num_parameters(model if isinstance(model, nn.Module) else _built(model))
    return name, data, p, n, p / n


def _built(build: Builder) -> nn.Module:
    """Build on the meta device; or in memory, if the builder reads values it makes."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except (NotImplementedError, RuntimeError):
            return build()


def _cifar10_rows() -> Iterator[tuple[Any, ...]]:
    models: dict[str, Callable[..., nn.Module]] = {
        "Inception": small_inception,
        "Inception without BatchNorm": partial(small_inception, batch_norm=False),
        "AlexNet (small)": small_alexnet,
        "MLP 3x512": partial(mlp, hidden=(512,) * 3),
        "MLP 1x512": mlp,
    }
    for name, model in models.items():
        build = partial(model, _CIFAR10_SHAPE, 10)
        yield _row(name, "CIFAR-10", build, _CIFAR10_EXAMPLES)


def _imagenet_rows() -> Iterator[tuple[Any, ...]]:
    for name, entry in _IMAGENET.items():
        build = _torchvision_builder(entry) or _timm_builder(entry)
        if build is not None:
            yield _row(name, "ImageNet", build, _IMAGENET_EXAMPLES)


def _optional(module: str) -> Any:
    """Return a module, or None where it is absent or was built for another PyTorch."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError, AttributeError):
        return None


def _torchvision_builder(entry: str) -> Builder | None:
    library = _optional("torchvision.models")
    if library is None:
        return None
    options = {"aux_logits": False, "init_weights": False} if entry == "inception_v3" else {}
    return partial(getattr(library, entry), weights=None, **options)


def _timm_builder(entry: str) -> Builder | None:
    library = _optional("timm")
    if library is None or not library.is_model(entry):
        return None
    return partial(library.create_model, entry, pretrained=False)
