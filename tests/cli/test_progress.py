"""Property: the bar is on standard error of a terminal, lines where there is none."""

import io
import sys

from gengap.cli._progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_every_half_minute_without_a_terminal(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with progress("trials", total=4) as advance:
        for seconds in (10, 29, 31, 59, 95):
            now[0] = 100.0 + seconds
            advance()
        now[0] += 30
        advance(completed=3, total=5, description="trials (epoch 2 of at most 9)")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "gengap: 3 of 4 trials, 0:31",
        "gengap: 5 of 4 trials, 1:35",
        "gengap: 3 of 5 trials (epoch 2 of at most 9), 2:05",
    ]


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
