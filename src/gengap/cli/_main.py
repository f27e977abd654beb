"""`gengap VERB ...`: finds the verb, and turns what happens into an exit code.

Exit codes: 0 done, 1 a claim or check failed, 2 it cannot be done as asked (one sentence says
why), 130 interrupted. `GENGAP_TRACEBACK=1` shows where an error came from.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

import gengap
from gengap._allocator import keep_freed_memory
from gengap._errors import GengapError

from ._dispatch import Verb, dispatch
from ._output import json_alone

DESCRIPTION = "Measure the gap between what a neural network memorizes and what it learns."
EPILOGUE = "`gengap VERB --help` explains a verb; `gengap --version` prints the version."
VERBS = {
    "audit": Verb("gengap.cli._audit", "does a network memorize, how much, at what price?"),
    "data": Verb("gengap.cli._data", "list, download and verify data sets"),
    "labels": Verb("gengap.cli._labels", "which labels of a data set are likely wrong?"),
    "measure": Verb("gengap.cli._measure", "every measure of a trained network"),
    "runs": Verb("gengap.cli._runs", "list, show and export what is in a store of trials"),
    "study": Verb("gengap.cli._study", "a paper's tables, figures and claims beside ours"),
}
INTERRUPTED, BROKEN_PIPE = 130, 141
_OPTIONS = {"`num_classes`": "`--classes`", "`size=`": "`--size`"}
"""What functions call an option in their errors, to the option."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gengap` with the given arguments, those of the process by default.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        keep_freed_memory()
    try:
        if words[:1] == ["--version"]:
            print(f"gengap {gengap.__version__}")
            return 0
        with json_alone() if _asks_for_json(words) else nullcontext():
            code = dispatch("gengap", VERBS, words, description=DESCRIPTION, epilogue=EPILOGUE)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # help has been printed
        if stop.code:
            raise
        return 0
    except KeyboardInterrupt:
        return _failed("Interrupted; the same command goes on where it stopped.", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (GengapError, ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("GENGAP_TRACEBACK") == "1":
            raise
        message = f"{error}" or type(error).__name__
        for argument, option in _OPTIONS.items():
            message = message.replace(argument, option)
        return _failed(message, 2)


def _asks_for_json(words: Sequence[str]) -> bool:
    return "--json" in words and not {"-h", "--help"} & set(words)


def _failed(message: str, code: int) -> int:
    """Print the message on one line of standard error and return the code."""
    print("gengap:", " ".join(message.split()), file=sys.stderr)
    return code
