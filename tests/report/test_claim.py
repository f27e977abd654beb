"""Closed form: claims and what the terminal prints. Oracle: the text written by hand."""

import io

import pandas as pd
import pytest
from rich.console import Console

from gengap.report import Claim, Table, print_claims, print_table


def make(**changes):
    given = {"name": "fits", "sentence": "It fits [all].", "rule": "at least 99%"}
    return Claim(**given | {"verdict": "supported"} | changes)


def test_rejects_another_verdict():
    with pytest.raises(ValueError, match=r"`verdict` must be one of 'supported'.*got 'maybe'"):
        make(verdict="maybe")


def test_is_a_value():
    assert make() == make()
    assert make() != make(paper="99%")


def test_prints_name_verdict_sentence_and_rule():
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_claims([make(ours="99.5 ± 0.1%"), make(verdict="not supported")], console=console)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == [
        "✓ fits: supported. It fits [all].",
        "  ours: 99.5 ± 0.1%",
        "  rule: at least 99%",
        "✗ fits: not supported. It fits [all].",
        "  rule: at least 99%",
    ]


def test_a_pipe_gets_whole_lines_without_blanks_at_their_end(capsys):
    long = "It fits " + "every one of the labels, " * 9 + "to the last."
    print_claims([make(sentence=long)])
    frame = pd.DataFrame({"file": ["trousers/" + "0" * 200 + ".png"], "confidence": [0.5]})
    print_table(Table(name="t", frame=frame, caption="What it is. " * 20))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"✓ fits: supported. {long}"
    assert lines[1] == "  rule: at least 99%"
    assert lines[2].split() == ["file", "confidence"]
    assert frame["file"][0] in lines[4] and len(lines) == 6


def test_who_stops_reading_gets_no_more(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):
        print_claims([make()])
