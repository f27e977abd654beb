"""Property: the bar is on standard error of a terminal and nowhere else."""

import io
import sys

from gengap.cli._progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_silent_without_a_terminal(capsys):
    with progress("trials", total=2) as advance:
        advance()
        advance(completed=2, total=2, description="done")
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_the_terminal_and_nothing_on_standard_output(capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("trials", total=4) as advance:
        advance()
        advance(completed=3, description="more trials")
    assert "more trials" in terminal.getvalue()
    assert "3/4" in terminal.getvalue()
    assert capsys.readouterr().out == ""
