"""What the site needs beyond its pages: navigation, formulas, and the pages of the root folder.

The navigation is what docs/index.md links to, section by section, so that a page is listed once;
the studies are those that lie in docs/studies. Formulas become MathML, which browsers show without
a script and without a network. README, CONTRIBUTING and CHANGELOG are read from the root. The
reference documents what each package exports.
"""

import ast
import logging
import re
from collections.abc import Iterable, Iterator
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LOG = logging.getLogger("mkdocs.hooks.build")  # below mkdocs', so that --strict hears of it
ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
HEADING = re.compile(r"^(#{2,3}) (.+)$")
ENTRY = re.compile(r"^- \[([^]]+)\]\(([^)#]+)\)")
REFERENCE = re.compile(r"^::: (gengap\.[a-z]\w*)$", re.MULTILINE)
NEEDS = re.compile(r"^(```python) needs-\w+$", re.MULTILINE)
"""A block of code that the tests run only where a package is there."""

SET = re.compile(r"<(pre|code|math)\b.*?</\1>", re.DOTALL)
LEFT = re.compile(r"```|\$\$|\\[a-z]{2,}|<blockquote>|<a,")
"""What a finished page has only where a fence, a formula or an example (>>>) was not read.

Or where an inner product, written <a, x>, was taken for a link.
"""

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)

TIGHT = (
    (
        re.compile(r'<mo stretchy="false">(?=&#x0007C;)'),
        '<mo stretchy="false" lspace="0" rspace="0">',
    ),
    (re.compile(r"<mo>(?=[a-z]+</mo><mo [^>]*>&#x00028;)"), '<mo lspace="0.17em" rspace="0">'),
)
"""Operators that want less space than MathML gives them: bars of a size, names before a bracket."""


def navigation(index: str, studies: list[str]) -> list[Any]:
    """Return the navigation: the sections of the index, their links in order, every study."""
    nav: list[Any] = []
    section: list[Any] = []
    entries: list[Any] = []
    for line in index.splitlines():
        if heading := HEADING.match(line):
            entries = [] if nav else [{"gengap": "index.md"}]
            if heading[1] == "##":
                section = entries
                nav.append({heading[2]: section})
            else:
                section.append({heading[2]: entries})
        elif entry := ENTRY.match(line):
            target = entry[2].removeprefix("../")
            entries.append({entry[1]: OUTSIDE.get(target, target)})
            if target == "studies/index.md":
                entries += [{Path(name).stem: name} for name in studies]
    return nav


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation."""
    docs = Path(config.docs_dir)
    pages = sorted((docs / "studies").glob("*.md"), key=lambda page: page.stem)
    studies = [f"studies/{page.name}" for page in pages if page.name != "index.md"]
    config.nav = navigation((docs / "index.md").read_text(encoding="utf-8"), studies)
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Take in the pages of the root folder, their links turned towards docs."""
    for name, place in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        text = re.sub(r'(\]\(|src=")docs/', r"\1", text)
        files.append(File.generated(config, place, content=_turned(text, "")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to the pages of the root folder; name what a page of the reference documents."""
    depth = page.file.src_uri.count("/")
    markdown = NEEDS.sub(r"\1", markdown)
    markdown = markdown.replace("\n  *Rule:* ", "<br>\n  *Rule:* ")  # of a claim: a line of its own
    return REFERENCE.sub(_members, _turned(markdown, "../" * (depth + 1), "../" * depth))


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write formulas as MathML; warn of what was not read."""
    html = FORMULA.sub(_mathml, html)
    if left := LEFT.search(re.sub(r"<(?!blockquote|a,)[^>]*>", "", SET.sub("", html))):
        where = page.file.src_uri
        LOG.warning("%s shows %r: a fence, formula or example was not read.", where, left[0])
    return html


def exported(package: str) -> list[str]:
    """Return the names that a package exports in the form `from ._x import A as A`, in order."""
    return sorted((name for _, name in _exports(package)), key=lambda name: (name.lower(), name))


def _exports(package: str) -> list[tuple[str, str]]:
    """Return the modules and names of what a package exports."""
    imports = [node for node in ast.walk(_tree(package)) if isinstance(node, ast.ImportFrom)]
    return [
        (".".join([*_within(package, node.level), node.module or ""]).rstrip("."), alias.name)
        for node in imports
        for alias in node.names
        if alias.asname == alias.name
    ]


@cache
def _tree(module: str) -> ast.Module:
    """Return the syntax of a module."""
    path = ROOT / "src" / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def type_names(package: str) -> dict[str, str]:
    """Return what short names of types in the signatures of a package stand for."""
    found: dict[str, str] = {}
    for module, name in _exports(package):
        nodes = [node for node in _tree(module).body if getattr(node, "name", None) == name]
        used = [(module, one) for one in _names(_annotations(nodes))]
        while used:
            one = used.pop()
            if one[1] not in found and (meaning := _meaning(*one)):
                where, value = meaning
                found[one[1]] = ast.unparse(value)
                used += [(where, inner) for inner in _names([value])]
    return dict(sorted(found.items()))


def _annotations(nodes: list[ast.stmt]) -> Iterator[ast.expr | None]:
    """Yield the annotations that the reference shows of functions and classes."""
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) if name == "__init__" or not name.startswith("_"):
                yield node.returns
                yield from (
                    arg.annotation for arg in ast.walk(node.args) if isinstance(arg, ast.arg)
                )
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                yield node.annotation
            case ast.ClassDef(body=body):
                yield from _annotations(body)


def _names(texts: Iterable[ast.expr | None]) -> set[str]:
    return {n.id for text in texts if text for n in ast.walk(text) if isinstance(n, ast.Name)}


def _meaning(module: str, name: str) -> tuple[str, ast.expr] | None:
    """Return what a module's name stands for, and where that is said, if it is a short name."""
    for node in ast.walk(_tree(module)):
        match node:
            case ast.ImportFrom(module=source) if name in [a.name for a in node.names]:
                source = ".".join([*_within(module, node.level), source or ""]).rstrip(".")
                return _meaning(source, name) if source.startswith("gengap") else None
            case ast.Assign(
                targets=[ast.Name(id=found)], value=ast.Subscript() | ast.BinOp() as of
            ):
                if found == name:
                    return module, of
    return None


def _within(module: str, level: int) -> list[str]:
    """Return the package, in parts, that an import with that many dots starts from."""
    parts = module.split(".")
    dots = level - 1 if (ROOT / "src" / Path(*parts)).is_dir() else level
    return parts[: len(parts) - dots] if level else []


def _members(match: re.Match[str]) -> str:
    names = "".join(f"\n        - {name}" for name in exported(match[1]))
    page = f"{match[0]}\n    options:\n      members:{names}"
    types = [f"- `{name}`: `{meaning}`" for name, meaning in type_names(match[1]).items()]
    return "\n".join(
        [page, "\n## Types\n", "Short names in signatures.\n", *types] if types else [page]
    )


def _turned(text: str, before: str, after: str = "") -> str:
    for name, place in OUTSIDE.items():
        text = re.sub(rf"\]\({re.escape(before + name)}(?=[)#])", f"]({after}{place}", text)
    return text


def _mathml(match: re.Match[str]) -> str:
    display = "block" if match[2] == "[" else "inline"
    formula = unescape(match[3]).strip().replace(r"\arg", r"\mathrm{arg}")  # which it does not know
    done = convert(formula, display=display)
    if "\\" in done:
        LOG.warning("the formula %r holds a command that MathML is not made of.", formula)
    for operator, tight in TIGHT:
        done = operator.sub(tight, done)
    return done
