"""Property: words find their verb, errors become one sentence and an exit code.

Oracle: the design's table of exit codes; few checks run through a process of their own.
"""

import json
import subprocess
import sys

import pytest

import gengap
from gengap._errors import DataError
from gengap.cli import _main, main
from gengap.cli._dispatch import Verb, dispatch


def run(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "gengap", *words],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture
def verb_that(monkeypatch):
    """Make a verb `do` that does what is given."""

    def install(action):
        module = type(sys)("gengap_test_verb")
        module.main = action
        monkeypatch.setitem(sys.modules, "gengap_test_verb", module)
        monkeypatch.setitem(_main.VERBS, "do", Verb("gengap_test_verb", "do something"))

    return install


def raising(error):
    def action(arguments):
        raise error

    return action


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb_with_its_summary(words, capsys):
    assert main(words) == 0
    out, err = capsys.readouterr()
    for word, verb in _main.VERBS.items():
        assert f"  {word} " in out
        assert verb.summary in out
    assert err == ""


def test_every_listed_verb_can_be_imported_and_answers_help(capsys):
    for word in _main.VERBS:
        assert main([word, "--help"]) == 0
        assert f"usage: gengap {word}" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["study run", "audit", "labels", "measure"])
def test_help_says_that_a_negative_flag_turns_off(words, capsys):
    """Not what the option does, `Write report.html.`, beside the flag that prevents it."""
    assert main([*words.split(), "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    negative = text.count(" --no-")
    assert negative >= 1
    says = ("Do not write report.html.", "Draw no charts.", "Do not score by the gradients.")
    assert sum(text.count(sentence) for sentence in says) == negative
    assert "Write report.html" not in text
    assert "(default: True)" not in text


def test_help_answers_without_importing_what_is_heavy():
    code = (
        "import sys, gengap.cli; gengap.cli.main(['--help'])\n"
        "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stderr)}
    heavy = {"torch", "numpy", "pandas", "altair", "sklearn", "tyro", "rich", "pyarrow", "scipy"}
    assert loaded & heavy == set()


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gengap {gengap.__version__}\n"


def test_an_unknown_verb_is_one_sentence_with_a_guess():
    done = run("dta")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gengap: `gengap` has no verb 'dta'; did you mean 'data'?\n"


def test_a_verb_gets_its_arguments_and_gives_the_exit_code(verb_that):
    seen = []
    verb_that(lambda arguments: seen.append(list(arguments)) or 1)
    assert main(["do", "--seed", "3"]) == 1
    assert seen == [["--seed", "3"]]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("`seed` must be\n  small; got 9."),
        TypeError("`seed` must be small; got 9."),
        DataError("`seed` must be small; got 9."),
        OSError("`seed` must be small; got 9."),
    ],
)
def test_expected_errors_are_one_line_and_exit_code_2(error, verb_that, capsys):
    verb_that(raising(error))
    assert main(["do"]) == 2
    assert capsys.readouterr() == ("", "gengap: `seed` must be small; got 9.\n")


def test_an_error_without_words_gives_its_name(verb_that, capsys):
    verb_that(raising(ValueError()))
    assert main(["do"]) == 2
    assert capsys.readouterr().err == "gengap: ValueError\n"


def test_a_bug_is_not_hidden(verb_that):
    verb_that(raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError, match="bug"):
        main(["do"])


def test_the_traceback_is_there_for_the_asking(verb_that, monkeypatch):
    monkeypatch.setenv("GENGAP_TRACEBACK", "1")
    verb_that(raising(ValueError("wrong")))
    with pytest.raises(ValueError, match="wrong"):
        main(["do"])


def test_an_interruption_is_130(verb_that, capsys):
    verb_that(raising(KeyboardInterrupt()))
    assert main(["do"]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert "goes on where it stopped" in err


def test_a_reader_who_leaves_is_no_traceback():
    code = (
        "import sys; from gengap.cli import main, _main\n"
        "_main.DESCRIPTION = 'x' * 1_000_000\n"
        "sys.exit(main(['--help']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert errors == b""


def test_dispatch_names_the_verbs_when_nothing_is_close():
    with pytest.raises(Exception, match=r"`prog` has no verb 'zzz'; there are one, two\."):
        dispatch("prog", {"one": Verb("m", ""), "two": Verb("m", "")}, ["zzz"], description="")
