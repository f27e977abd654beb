"""Twin: `gengap study` prints what `gengap.studies` returns; exit codes follow the claims."""

import json

import pandas as pd
import pytest

from gengap import studies
from gengap.cli import main
from gengap.report import Claim, Measured, Table
from gengap.studies import StudyResult


def result(verdict):
    frame = pd.DataFrame({"network": ["a"], "ours": [Measured.of([1.0, 3.0])]})
    claim = Claim(name="fits", sentence="It fits.", rule="Always.", verdict=verdict)
    return StudyResult(
        name="zhang2017-smoke",
        title="A paper",
        claims=[claim],
        tables=[Table(name="table-1", frame=frame)],
        cost="1 of 1 trials has ended.",
    )


@pytest.fixture
def asked(monkeypatch):
    """Replace the run by a made-up result; holds what the command line asked for."""
    held = {"verdict": "supported"}

    def run(name, scale, **how):
        held.update(name=name, scale=scale, **how)
        return result(held["verdict"])

    monkeypatch.setattr(studies, "run", run)
    return held


def test_list_names_every_study(capsys):
    assert main(["study", "list"]) == 0
    printed = capsys.readouterr().out
    for name, study in studies.names().items():
        assert name in printed
        assert study.title in printed
    assert main(["study", "list", "--json"]) == 0
    names = [study["name"] for study in json.loads(capsys.readouterr().out)]
    assert names == list(studies.names())


@pytest.mark.parametrize(
    ("verdict", "code"), [("supported", 0), ("inconclusive", 0), ("not supported", 1)]
)
def test_the_exit_code_is_that_of_the_claims(asked, capsys, tmp_path, verdict, code):
    asked["verdict"] = verdict
    out = str(tmp_path / "runs")
    assert main(["study", "run", "zhang2017", "--out", out]) == code
    printed = capsys.readouterr().out
    assert f"fits: {verdict}. It fits." in printed
    assert "report.html" in printed.replace("\n", "")
    assert (tmp_path / "runs" / "studies" / "zhang2017-smoke" / "report.html").exists()


def test_options_reach_the_study(asked, capsys, tmp_path):
    words = ["study", "run", "zhang2017", "--scale", "small", "--seeds", "2", "--seed", "5"]
    page = tmp_path / "docs" / "page.md"
    words += ["--only-finished", "--page", str(page), "--out", str(tmp_path / "runs")]
    assert main(words) == 0
    assert (asked["name"], asked["scale"], asked["train"]) == ("zhang2017", "small", False)
    assert list(asked["seeds"]) == [5, 6]
    assert page.read_text(encoding="utf-8").startswith("# A paper")
    capsys.readouterr()


def test_json_is_the_result_and_nothing_else(asked, capsys, tmp_path):
    assert main(["study", "run", "zhang2017", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["claims"][0]["verdict"] == "supported"
    (row,) = found["tables"]["table-1"]
    assert row["ours"] == pytest.approx({"mean": 2.0, "spread": 2**0.5, "count": 2})


def test_an_unknown_study_is_bad_usage(capsys):
    assert main(["study", "run", "zhang2018"]) == 2
    error = capsys.readouterr().err
    known = ", ".join(map(repr, studies.names()))
    assert f"{known}; got 'zhang2018'. Did you mean 'zhang2017'?" in error
