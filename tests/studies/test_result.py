"""Closed form: the page of a made-up study, word for word."""

import pandas as pd
import pytest

from gengap.report import Claim, Measured, Table, dots, versions
from gengap.studies import StudyResult


def claim(verdict="supported", **how):
    return Claim(
        name="it fits", sentence="It fits <b>all</b>.", rule="At 99%.", verdict=verdict, **how
    )


@pytest.fixture(scope="module")
def result():
    frame = pd.DataFrame({"p": [0.0, 1.0], "error": [0.1, 0.9], "net": ["a", "a"]})
    table = Table(
        name="table-1",
        title="Table 1",
        frame=pd.DataFrame({"net": ["a"], "paper": [99.34], "ours": [Measured.of([1.0, 3.0])]}),
        formats={"ours": ".1f"},
        caption="Percent.",
    )
    return StudyResult(
        name="made-up",
        title="A paper (2017)",
        lead="Two nets.",
        claims=[claim(paper="99%", ours="98%")],
        tables=[table],
        charts=[
            dots(
                frame,
                x="p",
                y="error",
                group="net",
                name="figure-1",
                title="Figure 1",
                caption="One seed.",
            )
        ],
        deviations=["Smaller data.", "Other batches."],
        cost="2 of 2 trials have ended.",
        command="gengap study run made-up",
    )


def test_the_page_has_one_fixed_form(result):
    expected = """# A paper (2017)

Two nets.

## What the numbers say

- **it fits: supported.** It fits &lt;b&gt;all&lt;/b&gt;. (ours: 98%; paper: 99%)
  *Rule:* At 99%.

## Made with

```sh
gengap study run made-up
```

2 of 2 trials have ended.

## Tables

### Table 1

| net | paper | ours |
| --- | ---: | ---: |
| a | 99.34 | 2.0 ± 1.4 |

Percent.

## Figures

![Figure 1](charts/figure-1.svg)

One seed.

## Deviations from the paper

- Smaller data.
- Other batches.

## Versions

"""
    head, tail = result.markdown().split("## Versions\n\n")
    assert head + "## Versions\n\n" == expected
    assert tail == "".join(f"- {name} {value}\n" for name, value in versions().items())


def test_headings_without_content_are_left_out():
    page = StudyResult(name="empty", title="Nothing").markdown()
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        "# Nothing",
        "## Versions",
    ]


def test_the_command_of_a_page_can_be_given(result):
    assert "```sh\nmake study\n```" in result.markdown(command="make study")


def test_save_writes_report_page_charts_and_tables(result, tmp_path):
    assert result.save(tmp_path / "out") == tmp_path / "out" / "report.html"
    page = (tmp_path / "out" / "page.md").read_text(encoding="utf-8")
    assert page == result.markdown()
    for name in ("charts/figure-1.svg", "charts/figure-1.csv", "tables/table-1.csv"):
        assert (tmp_path / "out" / name).exists()


def test_a_page_of_the_docs_links_pictures_beside_it(result, tmp_path):
    page = result.save_page(tmp_path / "docs" / "made-up.md")
    assert "![Figure 1](made-up/figure-1.svg)" in page.read_text(encoding="utf-8")
    assert (page.parent / "made-up" / "figure-1.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_study_is_refuted_by_one_claim_that_is_not_supported():
    both = [claim(), claim("inconclusive")]
    assert not StudyResult(name="a", title="A", claims=both).refuted
    assert StudyResult(name="a", title="A", claims=[*both, claim("not supported")]).refuted
