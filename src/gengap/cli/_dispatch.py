"""From a word to the code that runs it, importing nothing else."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from gengap._errors import UsageError


@final
@dataclass(frozen=True)
class Verb:
    """A word of the command line.

    Attributes:
        module: The module imported when the word is used.
        summary: What it does, for the help: a phrase, no full stop.
        function: Name of a function in the module: arguments in, exit code out.
    """

    module: str
    summary: str
    function: str = "main"

    def run(self, arguments: Sequence[str]) -> int:
        """Import the verb's module and run it; returns the exit code."""
        code: int = getattr(importlib.import_module(self.module), self.function)(arguments)
        return code


def dispatch(
    program: str,
    verbs: Mapping[str, Verb],
    arguments: Sequence[str],
    *,
    description: str,
    epilogue: str = "",
) -> int:
    """Run the verb that the first argument names, on the others; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(program, verbs, description, epilogue))
        return 0
    word = arguments[0]
    if word not in verbs:
        raise UsageError(_unknown(program, word, list(verbs)))
    return verbs[word].run(arguments[1:])


def _help(program: str, verbs: Mapping[str, Verb], description: str, epilogue: str) -> str:
    width = max(map(len, verbs))
    lines = [f"  {word:{width}}  {verb.summary}" for word, verb in verbs.items()]
    parts = [f"usage: {program} VERB [OPTIONS]", description, "\n".join(lines), epilogue]
    return "\n\n".join(filter(None, parts))


def _unknown(program: str, word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}."
    return f"`{program}` has no verb {word!r}; {hint}"
