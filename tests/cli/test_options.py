"""Property: arguments become options, or one sentence. Oracle: values written out by hand."""

from dataclasses import dataclass
from typing import Literal

import pytest

from gengap._errors import UsageError
from gengap.cli._options import assignments, parse


@dataclass(frozen=True, kw_only=True)
class Options:
    """Do something.

    Attributes:
        name: The name of it.
        levels: The levels.
        lanes: How many at once.
        json: Print JSON.
        report: Write the report.
    """

    name: str
    levels: tuple[float, ...] = (0.2, 0.4)
    lanes: int | Literal["auto"] = "auto"
    json: bool = False
    report: bool = True


def test_defaults_and_values():
    assert parse(Options, ["--name", "a"], program="p") == Options(name="a")
    words = ["--name", "a", "--levels", "0", "1", "--lanes", "3", "--json", "--no-report"]
    assert parse(Options, words, program="p") == Options(
        name="a", levels=(0.0, 1.0), lanes=3, json=True, report=False
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("", ("Missing: --name",)),
        ("--name a --unheard 1", ("--unheard", "1")),
        ("--name a --levls 1", ("--levls", "perhaps you meant --levels")),
        ("--name a --levels x", ("--levels", "'x'")),
        ("--name a --lanes 3.5", ("--lanes", "3.5")),
        ("--name", ("--name",)),
        ("--name a b", ("b",)),
    ],
)
def test_what_does_not_fit_is_one_sentence_that_names_it(words, parts, capsys):
    with pytest.raises(UsageError) as caught:
        parse(Options, words.split(), program="gengap verb")
    message = str(caught.value)
    assert all(part in message for part in parts)
    assert message.endswith("; see `gengap verb --help`.")
    assert "\n" not in message
    assert ". " not in message
    assert "│" not in message
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("columns", ["20", "400"])
def test_the_sentence_does_not_depend_on_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(UsageError, match=r"^Unrecognized options: --unheard, 1; see"):
        parse(Options, ["--name", "a", "--unheard", "1"], program="gengap verb")


def test_help_goes_to_standard_output_and_explains_every_field(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Options, ["--help"], program="gengap verb")
    assert not caught.value.code
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("usage: gengap verb", "Do something.", "The levels.", "How many at once."):
        assert text in out


def test_assignments_read_literals_and_leave_text():
    words = ["hidden=(512,512)", "wide=512,256", "dropout=0.5", "flag=True", "name=a=b", "none="]
    assert assignments("model_options", words) == {
        "hidden": (512, 512),
        "wide": (512, 256),
        "dropout": 0.5,
        "flag": True,
        "name": "a=b",
        "none": "",
    }


def test_assignments_run_nothing():
    text = "__import__('os').getcwd()"
    assert assignments("model_options", [f"x={text}"]) == {"x": text}


@pytest.mark.parametrize("words", [["hidden"], ["=3"], ["a-b=3"], ["a=1", "a=2"]])
def test_wrong_assignments_are_one_sentence(words):
    with pytest.raises(UsageError, match=r"^`model_options` must .*; got .*\.|twice\.$"):
        assignments("model_options", words)
