"""Data sets and networks that know their own specification."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, final
from weakref import WeakValueDictionary

import torch
from torch import nn

from gengap import data as data_floor, models as models_floor
from gengap._checks import check_count
from gengap._streams import streams
from gengap.data import Split, check_classes

from ._architecture import architecture

Halves = tuple[Split, Split | None]
Builder = Callable[[], nn.Module]

# The names that a stored specification or a command line may use.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "linear": models_floor.linear,
    "mlp": models_floor.mlp,
    "small_alexnet": models_floor.small_alexnet,
    "small_inception": models_floor.small_inception,
    "lenet": models_floor.lenet,
    "pyramid": models_floor.pyramid,
    "residual_mlp": models_floor.residual_mlp,
    "resnet": models_floor.resnet,
    "keskar_f1": models_floor.keskar_f1,
    "keskar_f2": models_floor.keskar_f2,
    "keskar_c1": models_floor.keskar_c1,
    "keskar_c2": models_floor.keskar_c2,
    "keskar_c3": models_floor.keskar_c3,
    "keskar_c4": models_floor.keskar_c4,
}
"""Networks of the library that take the data's shape and classes, by name."""


@final
@dataclass(frozen=True, eq=False)
class Data:
    """A train and a test half, and the plain data that identifies them.

    Attributes:
        spec: Plain data; part of a trial's identity.
        load: Returns (train, test); called at most once a process.
    """

    spec: dict[str, Any]
    load: Callable[[], Halves] = field(repr=False)

    @classmethod
    def named(
        cls, name: str, *, examples: int | None = None, test_examples: int | None = None
    ) -> "Data":
        """Take a built-in data set; as long as it is in use anywhere, it is in memory once.

        Args:
            name: A name that `gengap.load` knows.
            examples: Train on so many examples, drawn once.
            test_examples: Test on so many examples, drawn once.
        """
        key = repr((name, examples, test_examples))
        if (found := _IN_USE.get(key)) is None:
            if examples is test_examples is None:
                found = cls({"name": name}, functools.cache(lambda: data_floor.load(name)))
            else:
                found = cls.named(name)._subset(examples, test_examples)
            _IN_USE[key] = found
        return found

    @classmethod
    def of(
        cls,
        train: Split,
        test: Split | None,
        *,
        name: str = "",
        examples: int | None = None,
        test_examples: int | None = None,
    ) -> "Data":
        """Take splits in memory; identified by their content.

        The first is the train half and the second the test half, whatever their own `half` says;
        corruptions of labels leave the second alone.

        Args:
            train: The train half.
            test: The test half, or None.
            name: Where they come from, such as module:callable; part of the identity.
            examples: Train on so many examples, drawn once.
            test_examples: Test on so many examples, drawn once.

        Raises:
            DataError: The classes of the halves have other names or another order.
        """
        if test is not None:
            check_classes(train, test)
        spec: dict[str, Any] = {
            "name": name or train.name,
            "train": train.fingerprint(),
            "test": test.fingerprint() if test else None,
        }
        said = (train.half, test.half if test else "test")
        if said != ("train", "test"):  # earlier versions went by it, and kept results under its id
            spec["halves"] = list(said)
        halves = replace(train, half="train"), test and replace(test, half="test")
        return cls(spec, lambda: halves)._subset(examples, test_examples)

    def _subset(self, examples: int | None, test_examples: int | None = None) -> "Data":
        asked = {"examples": examples, "test_examples": test_examples}
        said = {k: check_count(k, count) for k, count in asked.items() if count is not None}
        if not said:
            return self

        @functools.cache
        def load() -> Halves:
            train, test = self.load()
            return _some(train, examples, "examples"), test and _some(
                test, test_examples, "test_examples"
            )

        return replace(self, spec={**self.spec, **said}, load=load)


_IN_USE: WeakValueDictionary[str, Data] = WeakValueDictionary()


def _some(split: Split, count: int | None, name: str) -> Split:
    """Return `count` examples of a split, drawn once for all seeds, in their order."""
    if count is None:
        return split
    if count > len(split):
        raise ValueError(
            f"`{name}` must be at most the {len(split)} of the {split.half} half; got {count}."
        )
    order = torch.randperm(len(split), generator=streams(0)(name))
    return split[order[:count].sort().values]


@final
@dataclass(frozen=True, eq=False)
class Model:
    """A network's builder, and the plain data that identifies it.

    Attributes:
        spec: Plain data; part of a trial's identity.
        builder: Given a split, returns a zero-argument callable that makes a fresh network.
    """

    spec: dict[str, Any]
    builder: Callable[[Split], Builder] = field(repr=False)

    @classmethod
    def named(cls, name: str, **options: Any) -> "Model":
        """Take a network by its name, sized to the data.

        Args:
            name: A key of `MODELS`, `torchvision:NAME` or `timm:NAME`.
            **options: What its builder takes beside the data's shape and classes.
        """
        known: Callable[..., nn.Module]
        if models_floor.is_outside(name):
            models_floor.check_outside(name)
            known = functools.partial(models_floor.outside, name)
        else:
            known = _own(name, options)

        def builder(split: Split) -> Builder:
            if split.num_classes is None:
                raise ValueError(f"The model {name!r} needs classes; got real targets.")
            return functools.partial(known, split.input_shape, split.num_classes, **options)

        return cls({"name": name, "options": options}, builder)

    @classmethod
    def of(cls, build: Builder, *, name: str = "") -> "Model":
        """Take a builder; identified by the network that it makes under seed 0.

        Of the network count the modules and their attributes, the source of their classes
        outside PyTorch and gengap, and the initial weights and buffers, rounded.
        """
        from gengap.training import build_seeded

        if isinstance(build, nn.Module) or not callable(build):
            raise TypeError(
                "`model` must be a function that builds the network, which is called for every "
                f"run, or a name; got {type(build).__name__}."
            )
        model = build_seeded(build, 0)
        said = name or getattr(build, "__qualname__", type(build).__name__)
        return cls({"name": said, "architecture": architecture(model)}, lambda split: build)


def _own(name: str, options: dict[str, Any]) -> Callable[..., nn.Module]:
    """Return the library's network of a name, which takes these options."""
    if name not in MODELS:
        raise ValueError(f"`model` must be one of {', '.join(MODELS)}; got {name!r}.")
    accepted = list(inspect.signature(MODELS[name]).parameters)[2:]
    for option in options:
        if option not in accepted:
            raise ValueError(
                f"Options of the model {name!r} must be among {', '.join(accepted)}; got "
                f"{option!r}."
            )
    return MODELS[name]
