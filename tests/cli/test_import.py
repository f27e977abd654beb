"""Property: `module:callable` finds the user's code; oracle: small modules written by the tests."""

import sys

import pytest

from gengap._errors import UsageError
from gengap.cli._import import is_import_path, resolve


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with some modules of the user's; none of them stays imported."""
    files = {
        "mine_good.py": "def load():\n    return 42\n\nclass Box:\n    build = staticmethod(load)\n"
        "value = 3\n",
        "mine_raises.py": "raise RuntimeError('no such luck')\n",
        "mine_exits.py": "raise SystemExit(3)\n",
        "mine_needs.py": "import a_module_nobody_has\n",
        "mine_broken.py": "def (\n",
        "mine_sibling.py": "from mine_good import load\n",
        "mine_pack/__init__.py": "",
        "mine_pack/part.py": "def build():\n    return 7\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mine_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mine_good:load", 42),
        ("mine_good:Box.build", 42),
        ("mine_sibling:load", 42),
        ("mine_pack.part:build", 7),
    ],
)
def test_it_finds_code_in_the_current_folder(folder, text, value):
    before = list(sys.path)
    assert resolve("data", text)() == value
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine_good", r"must read module:callable; got 'mine_good'"),
        ("mine_good:", r"must read module:callable"),
        (":load", r"must read module:callable"),
        ("a b:load", r"must read module:callable"),
        ("mine_absent:load", r"'mine_absent', which is neither in the current folder"),
        ("mine_absent.part:load", r"neither in the current folder"),
        ("mine_good.part:load", r"neither in the current folder"),
        ("mine_good:lod", r"no 'lod' in it; did you mean 'load'\?"),
        ("mine_good:zzzzzz", r"no 'zzzzzz' in it\."),
        ("mine_good:value", r"can be called; 'mine_good:value' is of type int"),
        ("mine_raises:load", r"fails with RuntimeError: no such luck"),
        ("mine_exits:load", r"fails with SystemExit: 3"),
        ("mine_needs:load", r"fails with ModuleNotFoundError: No module named 'a_module_nobody"),
        ("mine_broken:load", r"fails with SyntaxError"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_option(folder, text, message):
    before = list(sys.path)
    with pytest.raises(UsageError, match=message) as caught:
        resolve("data", text)
    assert "`data`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sys.path == before


def test_what_exists_as_a_path_is_a_path(folder):
    assert is_import_path("mine_good:load")
    assert not is_import_path("digits")
    assert not is_import_path("C:\\data")
    assert not is_import_path("some/folder:x")
    (folder / "odd:name").mkdir()
    assert not is_import_path("odd:name")
