"""Property: what is packed and what it asks for. Oracles: the source tree, the metadata."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gengap

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name):
    """Return the versions of a file of constraints."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in pairs}


def requirements():
    """Return every requirement, of the package itself and of its extras."""
    everything = [*PROJECT["dependencies"], *(word for words in EXTRAS.values() for word in words)]
    found = [Requirement(word) for word in everything]
    return [one for one in found if one.name != "gengap"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build a wheel and an sdist as pip does; return the folder."""
    folder = tmp_path_factory.mktemp("dist")
    call = f"b.build_wheel({str(folder)!r}); b.build_sdist({str(folder)!r})"
    code = f"import hatchling.build as b; {call}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    """Unpack the wheel away from the source tree."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_unpacked(unpacked, words, folder):
    """Run Python on the unpacked wheel, far from the source tree."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_the_package_and_nothing_else(unpacked):
    sources = {
        str(file.relative_to(ROOT / "src"))
        for file in (ROOT / "src/gengap").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    packed = {str(f.relative_to(unpacked)) for f in unpacked.rglob("*") if f.is_file()}
    assert {name for name in packed if not name.startswith("gengap-")} == sources
    assert "gengap/py.typed" in packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_the_metadata_names_version_command_and_extras(unpacked):
    (folder,) = unpacked.glob("*.dist-info")
    metadata = Parser().parsestr((folder / "METADATA").read_text())
    assert metadata["Version"] == gengap.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == set(EXTRAS)
    assert "gengap = gengap.cli:main" in (folder / "entry_points.txt").read_text()


def test_the_wheel_runs_without_the_source_tree(unpacked, tmp_path):
    where = run_unpacked(unpacked, ["-c", "import gengap; print(gengap.__file__)"], tmp_path)
    assert where.stdout.strip().startswith(str(unpacked))
    words = ["-m", "gengap", "audit", "--epochs", "1", "--seeds", "1", "--workers", "1", "--json"]
    made = run_unpacked(unpacked, [*words, "--no-report"], tmp_path)
    assert made.returncode in (0, 1), made.stderr
    assert '"results"' in made.stdout
    assert list((tmp_path / "gengap-runs" / "trials").iterdir())


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    code = "import hatchling.build as b; print(b.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True)
    (again,), (wheel,) = (tree / "dist").glob("*.whl"), built.glob("*.whl")
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(wheel) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
    assert not list(tree.rglob("*.safetensors"))


def test_the_pinned_versions_are_what_is_asked_for():
    pinned = pins("constraints.txt")
    for one in requirements():
        version = pinned.get(canonicalize_name(one.name))
        assert version is not None, f"constraints.txt does not pin {one.name}"
        assert one.specifier.contains(version), f"{one} and {version}"


def test_the_lowest_versions_are_those_that_are_tested():
    tested = pins("constraints-lowest.txt")
    for one in map(Requirement, PROJECT["dependencies"]):
        (bound,) = one.specifier
        lowest = tested[canonicalize_name(one.name)]
        if one.name == "torch":  # older ones have no wheel for a CPU alone at every index
            assert one.specifier.contains(lowest)
            continue
        assert bound.operator == ">=" and re.match(
            rf"{re.escape(bound.version)}(\.\d+)*$", lowest
        ), one
