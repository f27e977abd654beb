"""What the site needs beyond its pages: navigation, formulas, and the pages of the root folder.

The navigation is what docs/index.md links to, section by section, so that a page is listed once;
the studies are those that lie in docs/studies. Formulas become MathML, which browsers show without
a script and without a network. README, CONTRIBUTING and CHANGELOG are read from the root. The
reference documents what each package exports.
"""

import ast
import logging
import re
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
    path = ROOT / "src" / Path(*package.split(".")) / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    names = [alias.name for node in imports for alias in node.names if alias.asname == alias.name]
    return sorted(names, key=lambda name: (name.lower(), name))


def _members(match: re.Match[str]) -> str:
    names = "".join(f"\n        - {name}" for name in exported(match[1]))
    return f"{match[0]}\n    options:\n      members:{names}"


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
