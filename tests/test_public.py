"""Property: the public surface is what is written here, documented, and imported lazily.

Oracle: the list below, the syntax tree of `gengap/__init__.py`, and fresh interpreters.
"""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gengap

SUBPACKAGES = (
    *("callbacks", "capacity", "corruptions", "curvature", "data", "gradients", "kernels", "lab"),
    *("measures", "memorization", "models", "optim", "report", "risk", "studies"),
    *("symmetries", "training"),
)
NOUNS = (
    *(
        "Audit",
        "Coherence",
        "CoherenceMeter",
        "Lab",
        "Labels",
        "Lane",
        "Probes",
        "Recipe",
        "Risk",
        "Run",
        "Split",
        "Trial",
    ),
    *("audit", "coherence", "fit", "fit_lanes", "labels", "load"),
    *("DataError", "GengapError", "StoreError", "UsageError", "WorkerError"),
)


def imported_by(code):
    """The top-level packages that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def public_of(module):
    """The public names of a subpackage, without modules."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, type(importlib))
    }


def test_the_public_names():
    assert set(dir(gengap)) == {*NOUNS, *SUBPACKAGES, "__version__"}


@pytest.mark.parametrize("name", NOUNS + SUBPACKAGES)
def test_each_public_name_exists_and_is_documented(name):
    assert (getattr(gengap, name).__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        gengap.nonsense  # noqa: B018


def test_type_checkers_see_the_names_that_run_time_gives():
    tree = ast.parse(Path(gengap.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        seen.update({alias.asname: node.module for alias in node.names})
    assert seen == gengap._HOME_OF | dict.fromkeys(gengap._SUBPACKAGES, "gengap")


def test_all_folders_with_public_names_are_subpackages():
    folders = {info.name for info in pkgutil.iter_modules(gengap.__path__) if info.ispkg}
    assert folders - {"cli", "auditing", "inspection"} == set(SUBPACKAGES)


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_each_name_of_a_subpackage_is_documented(name):
    undocumented = [
        key
        for key, value in public_of(getattr(gengap, name)).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and not (value.__doc__ or "").strip()
    ]
    assert undocumented == []


def test_no_object_is_exported_twice():
    homes = {}
    for name in SUBPACKAGES:
        for key, value in public_of(getattr(gengap, name)).items():
            if str(getattr(value, "__module__", "")).startswith("gengap"):
                homes.setdefault(id(value), []).append(f"{name}.{key}")
    assert [places for places in homes.values() if len(places) > 1] == []


def test_import_gengap_loads_nothing_heavy():
    assert imported_by("import gengap") & {"torch", "numpy", "pandas", "altair", "sklearn"} == set()


def test_the_core_loads_neither_charts_nor_toolkits():
    code = (
        "import gengap\ngengap.data, gengap.corruptions, gengap.models\ngengap.training, gengap.lab"
        "\ngengap.kernels"
    )
    assert imported_by(code) & {"altair", "vl_convert", "sklearn", "ray"} == set()
