"""Closed form: tables. Oracle: Markdown and HTML written by hand, pandas' reader, a parser."""

import io
import math
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from gengap.report import Measured, Table, print_table, table_html


@pytest.fixture
def table():
    frame = pd.DataFrame({
        "data set": ["true", "<b>x</b>|y"],
        "accuracy": [Measured.of([0.96, 0.98]), Measured.of([0.1])],
        "epochs": [12, 1500],
        "note": ["", None],
    })
    return Table(name="t", frame=frame, formats={"accuracy": ".1%"}, group="data set")


class Cells(HTMLParser):
    """Collects tags and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.groups = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.groups += [value for key, value in attrs if key == "data-group"]

    def handle_data(self, data):
        self.text.append(data)


def test_markdown(table):
    assert table.to_markdown() == (
        "| data set | accuracy | epochs | note |\n"
        "| --- | ---: | ---: | --- |\n"
        "| true | 97.0 ± 1.4% | 12 |  |\n"
        "| &lt;b&gt;x&lt;/b&gt;\\|y | 10.0% | 1,500 | – |\n"
    )


def test_csv_keeps_the_values_unrounded(table):
    back = pd.read_csv(io.StringIO(table.to_csv()))
    assert back["data set"].tolist() == ["true", "<b>x</b>|y"]
    assert back["accuracy"].tolist() == [0.97, 0.1]
    assert back["accuracy spread"][0] == pytest.approx(math.sqrt(2) / 100, rel=1e-12)
    assert math.isnan(back["accuracy spread"][1])
    assert back["accuracy count"].tolist() == [2, 1]
    assert back["epochs"].tolist() == [12, 1500]


def test_html_escapes_and_aligns(table):
    found = Cells(table.html())
    assert "b" not in found.tags
    assert {"<b>x</b>|y", "97.0 ± 1.4%", "1,500"} <= set(found.text)
    assert found.groups == ["true", "<b>x</b>|y"]
    assert table.html().count('class="number"') == 2 * 3


def test_html_of_a_plain_frame_escapes_its_columns():
    found = Cells(table_html(pd.DataFrame({"<i>": [1.5]}), caption="<u>c</u>"))
    assert {"i", "u"} & set(found.tags) == set()
    assert {"<i>", "1.5", "<u>c</u>"} <= set(found.text)


def test_an_empty_frame_is_a_head():
    table = Table(name="t", frame=pd.DataFrame({"a": []}))
    assert table.to_markdown() == "| a |\n| --- |\n"
    assert Cells(table.html()).tags.count("tr") == 1


def test_terminal_aligns_numbers_to_the_right(table):
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_table(table, console=console)
    lines = console.file.getvalue().splitlines()
    assert any(f" {'10.0%':>11} {'1,500':>6} " in line for line in lines)


def test_saves_both_forms(table, tmp_path):
    paths = table.save(tmp_path / "deep")
    assert [path.name for path in paths] == ["t.csv", "t.md"]
    assert paths[0].read_text(encoding="utf-8") == table.to_csv()
    assert paths[1].read_text(encoding="utf-8") == table.to_markdown()


def test_rejects_what_it_cannot_write():
    with pytest.raises(ValueError, match=r"`name` must be letters.*got '../x'"):
        Table(name="../x", frame=pd.DataFrame())
    with pytest.raises(ValueError, match=r"`frame` must have a column 'z'; got \['a'\]"):
        Table(name="x", frame=pd.DataFrame({"a": [1]}), formats={"z": ".1%"})
