"""Property: what the pages and the docstrings show runs, and their links lead somewhere.

Oracle: the printed output in the docstrings, the asserts in the pages, the files themselves.
Blocks fenced as `python` run, those of one page in one namespace, in an empty current folder; of
`python needs-NAME`, those for which the package is there, and with `ranks` those of a process
group of one. Shell blocks: test_shell_blocks.py.
"""

import doctest
import importlib
import importlib.util
import pkgutil
import re
import socket
import warnings
from pathlib import Path

import pytest

import gengap

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = sorted(info.name for info in pkgutil.walk_packages(gengap.__path__, "gengap."))
BLOCK = re.compile(r"^```python(?: needs-(\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#[^)\s]*)?\)")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def text_of(page):
    return page.read_text(encoding="utf-8")


def there(needed):
    return not needed or needed == "ranks" or importlib.util.find_spec(needed) is not None


@pytest.fixture
def one_rank(monkeypatch):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    where = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in where.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(text_of(p))], ids=name_of)
@pytest.mark.global_rng
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, one_rank):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    text = text_of(page)
    for match in BLOCK.finditer(text):
        if not there(match[1]):
            continue
        line = text[: match.start(2)].count("\n")
        code = compile("\n" * line + match[2], name_of(page), "exec")
        with warnings.catch_warnings():
            if match[1]:  # what other libraries warn of is not ours
                warnings.simplefilter("ignore")
            exec(code, namespace)


def test_every_block_of_python_is_one_that_runs():
    fences = re.compile(r"^```python(.*)$", re.MULTILINE)
    kinds = {kind for page in PAGES for kind in fences.findall(text_of(page))}
    packages = ("datasets", "lightning", "ranks", "ray", "transformers")
    assert kinds <= {"", *(f" needs-{name}" for name in packages)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_to_files(page):
    targets = [target for target in LINK.findall(text_of(page)) if target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_of_the_docs_is_reached_from_the_index():
    index = ROOT / "docs" / "index.md"
    reached, waiting = set(), [index]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        waiting += [(page.parent / target).resolve() for target in LINK.findall(text_of(page))]
    lost = {page for page in PAGES if (ROOT / "docs") in page.parents} - reached
    assert sorted(map(name_of, lost)) == []


def test_every_study_is_in_the_table_and_every_page_of_one_is_linked():
    folder = ROOT / "docs" / "studies"
    index = text_of(folder / "index.md")
    pages = {page.name for page in folder.glob("*.md")} - {"index.md"}
    assert pages - set(LINK.findall(index)) == set()
    assert [name for name in gengap.studies.names() if f"| {name} " not in unlinked(index)] == []


def unlinked(text):
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text)


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "studies").glob("*[0-9]*.md")), ids=name_of
)
def test_the_page_of_a_study_has_the_fixed_form(page):
    headings = re.findall(r"^## (.+)$", text_of(page), re.MULTILINE)
    form = ["What the numbers say", "Made with", "Tables", "Figures", "Deviations from the paper"]
    assert [h for h in headings if h != "Figures"] == [*form[:3], form[4], "Versions"]
    assert headings.count("Figures") <= 1
    assert f"gengap study run {page.stem}" in text_of(page)
    assert text_of(page).startswith("# ")


def test_the_reference_has_a_page_for_every_package():
    folder = ROOT / "docs" / "reference"
    packages = {path.parent.name for path in (ROOT / "src/gengap").glob("*/__init__.py")} - {"cli"}
    pages = {page.stem: text_of(page) for page in folder.glob("*.md")}
    assert pages.keys() - {"gengap"} == packages
    assert [name for name in packages if f"::: gengap.{name}\n" not in pages[name]] == []


def test_the_reference_names_what_the_package_itself_holds():
    page = text_of(ROOT / "docs" / "reference" / "gengap.md")
    names = set(dir(gengap)) - {"__version__"} - set(gengap._SUBPACKAGES)
    assert [name for name in sorted(names) if name not in re.findall(r"\w+", page)] == []


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
@pytest.mark.global_rng
def test_the_examples_of_a_module_are_true(name, tmp_path, monkeypatch):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if str(missing.name).startswith("gengap"):
            raise
        pytest.skip(f"needs {missing.name}")
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
