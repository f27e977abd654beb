"""Property: what the pages and the docstrings show runs, and their links lead somewhere.

Oracle: the printed output in the docstrings, the asserts in the pages, the files themselves.
Blocks fenced as `python` run, those of one page in one namespace, in an empty current folder;
`python no-run` marks one that cannot (it would take too long, or needs a download).
"""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import gengap

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = sorted(info.name for info in pkgutil.walk_packages(gengap.__path__, "gengap."))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#[^)\s]*)?\)")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def text_of(page):
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(text_of(p))], ids=name_of)
@pytest.mark.global_rng
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    text = text_of(page)
    for match in BLOCK.finditer(text):
        line = text[: match.start(1)].count("\n")
        code = compile("\n" * line + match[1], name_of(page), "exec")
        exec(code, namespace)


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


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
@pytest.mark.global_rng
def test_the_examples_of_a_module_are_true(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
