"""`module:callable`: the user's own code, from the current folder too."""

import difflib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from gengap._errors import UsageError


def is_import_path(text: str) -> bool:
    """Return whether a word reads `module:callable`, as against a name or a path.

    What exists as a file or folder is a path.
    """
    module, colon, attribute = text.partition(":")
    words = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(map(str.isidentifier, words)) and not Path(text).exists()


def resolve(name: str, text: str) -> Callable[..., object]:
    """Import the callable that `module:callable` names.

    Args:
        name: The option it was given to, for the messages.
        text: A module, dotted if it lies in a package, a colon, and a name in the module. The
            current folder is searched first, as `python -m` does, while the import lasts.

    Returns:
        The callable.

    Raises:
        UsageError: There is no such module or name, the import raises, or it is not callable.
    """
    if not is_import_path(text):
        raise UsageError(f"`{name}` must read module:callable; got {text!r}.")
    module_name, _, attribute = text.partition(":")
    value: object = _module(name, module_name)
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise UsageError(_missing(name, text, part, value))
        value = getattr(value, part)
    if not callable(value):
        raise UsageError(
            f"`{name}` must name something that can be called; {text!r} is of type "
            f"{type(value).__name__}."
        )
    return value


def _module(name: str, module_name: str) -> ModuleType:
    try:
        with _current_folder_first():
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"`{name}` names the module {module_name!r}, which is neither in the current "
                f"folder ({Path.cwd()}) nor installed."
            ) from error
        raise _import_failed(name, module_name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, module_name, error) from error


def _import_failed(name: str, module_name: str, error: BaseException) -> UsageError:
    return UsageError(
        f"`{name}` names the module {module_name!r}, whose import fails with "
        f"{type(error).__name__}: {error}"
    )


def _missing(name: str, text: str, part: str, value: object) -> str:
    close = difflib.get_close_matches(part, dir(value), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"`{name}` is {text!r}, but there is no {part!r} in it{hint}"


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = str(Path.cwd())
    importlib.invalidate_caches()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
