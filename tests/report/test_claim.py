"""Closed form: claims and what the terminal prints. Oracle: the text written by hand."""

import io

import pytest
from rich.console import Console

from gengap.report import Claim, print_claims


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
