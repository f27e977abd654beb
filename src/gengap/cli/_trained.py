"""Which trained network a word names: a trial of a store, or the user's own callable."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from torch import nn

from gengap import data as data_floor
from gengap._errors import UsageError
from gengap.data import Split
from gengap.lab import Data, Lab, Model, Trial, plain
from gengap.studies import plain_pixels
from gengap.training import Recipe, build_seeded

from ._import import is_import_path, resolve
from ._inputs import called, find_data, find_model

_WEIGHTS = "weights.safetensors"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained network and the examples to measure it on.

    Attributes:
        name: What to call it.
        model: The network.
        train: The examples it was trained on, corrupted as they were, or those asked for.
        test: Other examples, or None.
        about: What is known of it, as plain data.
    """

    name: str
    model: nn.Module
    train: Split
    test: Split | None
    about: Mapping[str, Any]


def find_trained(
    text: str,
    *,
    data: str | None = None,
    num_classes: int | None = None,
    standardize: Literal["image", "dataset"] | None = None,
    tokens: bool = False,
    size: Sequence[int] = (),
    seed: int = 0,
) -> Trained:
    """Return the trained network that a word names.

    Args:
        text: The folder of a trial, its weights.safetensors, or module:callable, which returns a
            trained torch.nn.Module.
        data: What to measure on, as `--data` names it; None takes a trial's own.
        num_classes: Number of classes of data from outside, where the labels do not show it.
        standardize: How to standardize data from outside.
        tokens: Whether data from outside are tokens.
        size: What the images of a folder are brought to.
        seed: Of whatever the callable draws from PyTorch's default generator.
    """
    given = functools.partial(
        find_data, num_classes=num_classes, standardize=standardize, tokens=tokens, size=size
    )
    if is_import_path(text):
        if data is None:
            raise UsageError(
                "`data` must be given for a network of your own: a name, a path, or "
                "module:callable."
            )
        train, test = given(data).load()
        return Trained(
            name=text, model=_called(text, seed), train=train, test=test,
            about={"model": text, "data": data},
        )  # fmt: skip
    lab, name = _place(text)
    spec = lab.store.spec(name)
    model = _model(spec["model"], name)
    if data is None:
        found = _data(spec["data"], given, name)
        train, test = _trial(found, model, spec, name).splits()
    else:
        train, test = given(data).load()
    about = {**spec, "trial": name, **({} if data is None else {"measured on": data})}
    network = lab.network(name, model.builder(train))
    return Trained(name=name, model=network, train=train, test=test, about=about)


def _called(text: str, seed: int) -> nn.Module:
    function = resolve("model", text)

    def build() -> nn.Module:
        found = function()
        model = getattr(found, "model", found)  # a gengap.Run has its network there
        if not isinstance(model, nn.Module):
            kind = type(found).__name__
            raise UsageError(
                f"`model` must return a trained torch.nn.Module; {text} returned {kind}."
            )
        return model

    made: nn.Module = called("model", text, lambda: build_seeded(build, seed))
    return made


def _place(text: str) -> tuple[Lab, str]:
    """Return the store and the id of the trial whose folder, or weights, lie at a path."""
    path = Path(text)
    if not path.exists():
        raise UsageError(
            f"`model` must be the folder of a trial, its {_WEIGHTS}, or module:callable; got "
            f"{text!r}, which does not exist."
        )
    folder = (path.parent if path.is_file() else path).resolve()
    if not (folder / "trial.json").is_file() or folder.parent.name != "trials":
        raise UsageError(
            f"`model` must lie in a store, where trial.json tells what it is; {text!r} does not. "
            "Give module:callable, which builds the network and loads its weights."
        )
    return Lab(folder.parent.parent), folder.name


def _trial(data: Data, model: Model, spec: dict[str, Any], name: str) -> Trial:
    """Return a trial from its specification, its data and network found again."""
    try:
        trial = Trial(data=data, model=model, recipe=Recipe()).sibling(spec)
    except ValueError as error:
        raise _lost(name, str(error)) from error
    found, kept = trial.spec.get("files"), spec.get("files")
    if found and kept and found != kept:
        raise _lost(name, "the file of its labels holds others now.")
    return trial


def _another(name: str, part: str, spec: Mapping[str, Any]) -> UsageError:
    return UsageError(
        f"`model`: trial {name} was trained with the {part} {spec.get('name')!r}; what that names "
        "here is something else. Call gengap.measures.evaluate with what it was."
    )


def _lost(name: str, why: str) -> UsageError:
    return UsageError(
        f"`data` must be given, as what trial {name} was trained on cannot be made again from its "
        f"specification: {why}"
    )


def _data(spec: Mapping[str, Any], given: Callable[..., Data], name: str) -> Data:
    """Return the data of a specification, or say that its name gives others."""
    counts = {key: spec.get(key) for key in ("examples", "test_examples")}
    if "train" not in spec:
        made = plain_pixels if "preprocessing" in spec else Data.named
        if spec["name"] in data_floor.names():
            found = made(spec["name"], **counts)
            if plain(found.spec) == spec:
                return found
        raise _lost(name, f"{', '.join(f'{k} {v!r}' for k, v in spec.items())}.")
    for divide in (True, False):
        try:
            found = given(spec["name"], examples=counts["examples"], divide=divide)
        except UsageError as error:
            raise _lost(name, str(error)) from error
        if plain(found.spec) == spec:
            return found
    raise _another(name, "data", spec)


def _model(spec: Mapping[str, Any], name: str) -> Model:
    """Return the architecture of a specification; how its weights began does not matter."""
    if "options" in spec:
        return Model.named(
            spec["name"],
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in spec["options"].items()
                if key != "weights"
            },
        )
    found = find_model(spec["name"], {})
    if plain(found.spec) != spec:
        raise _another(name, "model", spec)
    return found
