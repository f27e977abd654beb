"""The user's own modules, sent to the machines of a cluster by value."""

import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def user_code_sent() -> Iterator[None]:
    """Send functions and classes of the user's modules as they are while the block runs.

    Ray names what a module defines and expects the module to be installed on every machine. The
    modules of the current folder and of the script's folder are not; their code goes along.
    """
    from ray import cloudpickle

    own, others = _own(), _others()
    held = [module for module in list(sys.modules.values()) if _is_users(module, own, others)]
    new = [m for m in held if m.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in new:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in new:
            cloudpickle.unregister_pickle_by_value(module)


def _is_users(module: ModuleType, own: set[Path], others: set[Path]) -> bool:
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "")
    if not isinstance(file, str) or not file.endswith(".py") or sys.modules.get(name) is not module:
        return False
    if name.partition(".")[0] in ("gengap", "__main__", "__mp_main__"):
        return False
    path = Path(file)  # not absolute: no file, but the name that a module made in memory gives
    return (
        path.is_absolute()
        and any(map(path.is_relative_to, own))
        and not any(map(path.is_relative_to, others))
    )


def _own() -> set[Path]:
    """Return the current folder, and the script's."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return {Path.cwd(), *([Path(script).absolute().parent] if script else [])}


def _others() -> set[Path]:
    """Return the folders of what is installed."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    paths = [sysconfig.get_path(name) for name in names]
    return {Path(path) for path in (*paths, *site.getsitepackages(), site.getusersitepackages())}
