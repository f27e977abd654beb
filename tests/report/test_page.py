"""Property: the page and its parts. Oracle: an HTML parser, JSON read back, hostile names."""

import json
import platform
import re
import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest

from gengap._errors import StoreError
from gengap.report import (
    Chart,
    Claim,
    Command,
    Report,
    Section,
    Specification,
    Table,
    curves,
    styles,
    versions,
)
from gengap.report._escaping import inline, script_json
from gengap.report._page import vega_runtime
from tests.report.sample_report import NAMES, sample

HOSTILE = "</script><script>alert(1)</script><img src=http://x.example/y onerror=alert(2)>"


class Page(HTMLParser):
    """Collects elements, script texts and everything that could be loaded."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.text = [], [], [], ""
        self.inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def report():
    return sample()


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("report") / "out" / "report.html")


@pytest.fixture(scope="module")
def page(saved):
    return Page(saved.read_text(encoding="utf-8"))


def hostile():
    frame = pd.DataFrame({"g": [HOSTILE] * 2, "t": [0, 1], "v": [0.0, 1.0]})
    claim = Claim(name=HOSTILE, sentence=HOSTILE, rule=HOSTILE, verdict="supported", ours=HOSTILE)
    items = [
        HOSTILE,
        claim,
        curves(frame, x="t", y="v", group="g", name="c", title=HOSTILE, caption=HOSTILE),
        Table(name="t", frame=frame, title=HOSTILE, caption=HOSTILE, group="g"),
        Specification(content={HOSTILE: [HOSTILE, {"a": HOSTILE}]}, title=HOSTILE),
        Command(line=["gengap", HOSTILE]),
    ]
    return Report(title=HOSTILE, lead=HOSTILE, sections=[Section(title=HOSTILE, items=items)])


def test_nothing_is_loaded(page, report):
    sources = [value for tag, key, value in page.attributes if key in {"src", "srcset", "href"}]
    assert all(value.startswith(("data:", "#")) for value in sources)
    policies = [value for tag, key, value in page.attributes if value.startswith("default-src")]
    assert policies and policies[0].startswith("default-src 'none';")
    css = re.search(r"<style>(.*?)</style>", report.to_html_fragment(), re.DOTALL).group(1)
    assert "url(" not in css and "@import" not in css


def test_one_vega_a_page(page, saved):
    assert sum("vegaEmbed=" in script for script in page.scripts) == 1
    assert len(page.scripts) == 3
    assert saved.stat().st_size < 2_000_000


def test_the_runtime_cannot_end_its_script():
    assert "</script" not in vega_runtime().lower()
    assert "<!--" not in vega_runtime()


def test_files_stand_beside_the_page(saved):
    charts = ("test-accuracy", "time-to-fit", "train-loss")
    expected = {f"charts/{name}.{end}" for name in charts for end in ("svg", "png", "csv")}
    expected |= {"report.html", "tables/audit.csv", "tables/audit.md"}
    folder = saved.parent
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == expected


def test_the_data_inside_are_the_files_beside(page, saved):
    content = json.loads(page.scripts[0])
    assert [chart["name"] for chart in content] == ["train-loss", "time-to-fit", "test-accuracy"]
    for chart in content:
        beside = (saved.parent / "charts" / f"{chart['name']}.csv").read_text(encoding="utf-8")
        assert chart["csv"] == beside
    assert content[0]["groups"] == NAMES


def test_the_buttons_are_the_groups(page):
    pressed = [value for tag, key, value in page.attributes if key == "aria-pressed"]
    chips = [value for tag, key, value in page.attributes if (tag, key) == ("button", "data-group")]
    assert chips == NAMES
    assert pressed == ["false"] * len(NAMES)


def test_the_page_says_everything(page):
    text = " ".join(page.text.split())
    for words in ("not supported", "Rule", "99.34%", "gengap audit --data digits", "96.8 ± 0.1%"):
        assert words in text
    assert page.tags.count("img") == 3 + 8 * 4 + 3


@pytest.mark.parametrize("form", ["to_html", "to_html_fragment"])
def test_hostile_names_are_text(form):
    found = Page(getattr(hostile(), form)())
    assert len(found.scripts) == (3 if form == "to_html" else 0)
    assert not [key for _, key, _ in found.attributes if key.startswith("on")]
    assert not [value for _, key, value in found.attributes if key == "src" and "http" in value]
    assert found.text.count("alert(1)") >= 10
    if form == "to_html":
        (chart,) = json.loads(found.scripts[0])
        assert chart["groups"] == [HOSTILE]


def test_json_of_a_script_reads_back():
    value = {"</script><!--": ["\u2028&<>", 1.5, None, "ä"]}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_prose_knows_code_only():
    assert inline("a `b<c` <i>") == "a <code>b&lt;c</code> &lt;i&gt;"


def test_the_fragment_has_pictures_and_no_scripts(report):
    found = Page(report.to_html_fragment())
    sources = [value for tag, key, value in found.attributes if (tag, key) == ("img", "src")]
    assert sum(value.startswith("data:image/svg+xml") for value in sources) == 3
    assert "script" not in found.tags
    style = re.search(r"<style>(.*?)</style>", report.to_html_fragment(), re.DOTALL).group(1)
    assert not re.search(r"^(html|body|:root)\b", style, re.MULTILINE)


def test_the_specification_reads_back():
    content = {"recipe": {"lr": 0.1, "inf": float("inf")}, "trials": [{"seed": 0}], "none": None}
    found = json.loads(Specification(content=content).json())
    assert found == content | {"recipe": {"lr": 0.1, "inf": "inf"}}


def test_the_command_is_quoted():
    assert Command(line=["gengap", "audit", "--data", "a b"]).text == "gengap audit --data 'a b'"


def test_versions_name_no_machine():
    found = versions()
    assert {"gengap", "python", "torch", "numpy", "threads", "system"} <= set(found)
    assert platform.node() not in found.values()
    assert not [value for value in found.values() if value.startswith("/")]


def test_rejects_one_name_twice():
    chart = Chart(name="a", chart={"mark": "point"}, data=pd.DataFrame())
    with pytest.raises(ValueError, match=r"`sections` must give every chart a name.*'a' twice"):
        Report(title="t", sections=[Section(title="s", items=[chart, chart])])


def test_rejects_two_looks_of_one_group():
    data = pd.DataFrame()
    first = Chart(name="a", chart={}, data=data, styles=styles(["x", "y"]))
    other = Chart(name="b", chart={}, data=data, styles=styles(["y"]))
    with pytest.raises(ValueError, match=r"must draw 'y' alike in all charts .* Pass the same"):
        Section(title="s", items=[first, other])


def test_rejects_other_items():
    with pytest.raises(TypeError, match=r"`items` must be strings, Claims.*got int"):
        Section(title="s", items=[3])


def test_a_folder_is_no_page(tmp_path):
    with pytest.raises(StoreError, match=r"`path` must be a file such as report.html"):
        Report(title="t", sections=[]).save(tmp_path)


def test_the_same_report_is_the_same_bytes(saved):
    assert sample().to_html() == saved.read_text(encoding="utf-8")


def test_charts_are_loaded_late():
    code = (
        "import io, sys, pandas, gengap.report as r\n"
        "r.Table(name='t', frame=pandas.DataFrame({'a': [1]})).html()\n"
        "print([m for m in ('altair', 'vl_convert', 'torch', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
