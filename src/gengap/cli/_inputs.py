"""Which data and which network an option names: built in, a path, or the user's own callable."""

import difflib
import functools
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gengap import data as data_floor
from gengap._errors import GengapError, UsageError
from gengap._streams import own_draws
from gengap.inspection import is_estimator
from gengap.lab import MODELS, Data, Model
from gengap.models import is_outside
from gengap.training import Recipe

from ._import import is_import_path, resolve


def find_data(
    text: str,
    *,
    examples: int | None = None,
    test_examples: int | None = None,
    num_classes: int | None = None,
    standardize: Literal["image", "dataset"] | None = None,
    tokens: bool = False,
    size: Sequence[int] = (),
    divide: bool = True,
) -> Data:
    """Return the data that `--data` names.

    Args:
        text: A built-in name, a path, or module:callable.
        examples: Train on so many examples.
        test_examples: Test on so many examples.
        num_classes: Number of classes of data from outside, where the labels do not show it.
        standardize: How to standardize data from outside; built-in ones know how.
        tokens: Whether data from outside are tokens, whole numbers that stay whole.
        size: Side, or height and width, that the images of a folder are brought to; or nothing.
        divide: Set a test half aside from data from outside that have none; else what is not
            their train half is left out.
    """
    if text in data_floor.names():
        if standardize is not None or num_classes is not None or tokens or size:
            raise UsageError(
                "`standardize`, `classes`, `tokens` and `size` are for data from outside; "
                f"{text!r} has its own."
            )
        return Data.named(text, examples=examples, test_examples=test_examples)
    source: Any
    if is_import_path(text):
        source = called("data", text, resolve("data", text))
    elif Path(text).exists():
        source = text
    else:
        if "/" in text or Path(text).suffix:
            raise UsageError(f"`data` must be a path that exists; got {text!r}{_beside(text)}")
        what = f"a built-in data set ({', '.join(data_floor.names())}), a path, or module:callable"
        raise UsageError(_unknown("data", what, text, data_floor.names()))
    said: dict[str, Any] = {"standardize": standardize, "num_classes": num_classes}
    said["layout"] = "tokens" if tokens else "auto"
    if len(size) > 2:
        raise UsageError(f"`size` must be a side, or height and width; got {list(size)}.")
    said["size"] = None if not size else size[0] if len(size) == 1 else tuple(size)
    if not divide:
        train = data_floor.as_split(source, **said)
        return Data.of(train, None, name=text, examples=examples)
    train, test = data_floor.as_splits(source, **said)
    return Data.of(train, test, name=text, examples=examples, test_examples=test_examples)


def with_settings(recipe: Recipe, *, momentum: float | None, clip_percent: float | None) -> Recipe:
    """Return a recipe with settings of its optimizer that were asked for.

    Raises:
        UsageError: The optimizer has no such setting.
    """
    if clip_percent is not None and recipe.robust_mean is None:
        raise UsageError(
            "`clip_percent` goes with winsorized_sgd and trimmed_mean_sgd; got "
            f"{clip_percent:g} for {recipe.optimizer}."
        )
    if clip_percent is not None:
        recipe = replace(recipe, clip_percent=clip_percent)
    return recipe if momentum is None else replace(recipe, momentum=momentum)


def find_model(text: str, options: Mapping[str, object]) -> Model:
    """Return the network that `--model` names.

    Args:
        text: A built-in name, or module:callable, which returns a torch.nn.Module.
        options: Keyword arguments of its builder.
    """
    if text in MODELS or is_outside(text):
        return Model.named(text, **options)
    if not is_import_path(text):
        what = f"a built-in model ({', '.join(MODELS)}) or module:callable"
        raise UsageError(_unknown("model", what, text, MODELS))
    build: Any = resolve("model", text)
    made: Model = called(
        "model", text, lambda: Model.of(functools.partial(build, **options), name=text)
    )
    return made


def find_classifier(text: str, options: Mapping[str, object]) -> Any:
    """Return the classifier of scikit-learn or skorch that `--model` names; None if it is none."""
    if text in MODELS or is_outside(text) or not is_import_path(text):
        return None
    build = functools.partial(resolve("model", text), **options)
    with own_draws(0):  # a network, should it be one, is only looked at
        made = called("model", text, build)
    return made if is_estimator(made) else None


def called(option: str, text: str, function: Callable[[], Any]) -> Any:
    """Return what the user's own function returns.

    Args:
        option: The option that names it, for the message.
        text: The name that was given to the option.
        function: What to call.

    Raises:
        UsageError: It raises something, or ends the process.
    """
    try:
        return function()
    except GengapError:
        raise
    except (Exception, SystemExit) as error:
        said = f"`{option}`: {text} raised {type(error).__name__}: {error}"
        raise UsageError(said + _place(error)) from error


def _place(error: BaseException) -> str:
    """Return where in the current folder an error was raised, in brackets; or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).parent == Path.cwd()]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _beside(text: str) -> str:
    """Return the end of a sentence that asks for a name beside a path that does not exist."""
    path = Path(text)
    names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else "."


def _unknown(option: str, what: str, text: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(text, list(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"`{option}` must be {what}; got {text!r}{hint}"
