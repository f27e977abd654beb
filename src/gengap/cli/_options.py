"""From a verb's arguments to its options, a frozen dataclass."""

import ast
import contextlib
import io
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

import tyro

from gengap._errors import UsageError

Options = TypeVar("Options")
HELP_WORDS = ("-h", "--help")

# What is done unless its flag, --no-..., is given: the help says what the flag does.
ReportFlag = Annotated[bool, tyro.conf.arg(help="Do not write report.html.", help_behavior_hint="")]
ChartsFlag = Annotated[bool, tyro.conf.arg(help="Draw no charts.", help_behavior_hint="")]
GradientsFlag = Annotated[
    bool, tyro.conf.arg(help="Do not score by the gradients.", help_behavior_hint="")
]


def parse(options: type[Options], arguments: Sequence[str], *, program: str) -> Options:
    """Return the options that the arguments give.

    Args:
        options: A frozen dataclass with a line of docstring for every field.
        arguments: The words after the verb.
        program: The words before them, for the help.

    Raises:
        UsageError: The arguments do not fit, in one sentence.
        SystemExit: Help was asked for and has been printed.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                options,
                args=list(arguments),
                prog=program,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise UsageError(
        f"{_sentence(complaint.getvalue(), options.__name__)}; see `{program} --help`."
    )


def _sentence(box: str, name: str) -> str:
    """Return the heart of the box that tyro draws around a complaint, without a full stop.

    After a title, the box's first part says what is wrong; a rule, or an empty line, ends it. Of
    the options it lists, the names are enough; `name`, the class of the options, means nothing to
    a user.
    """
    lines = [line.strip(" │") for line in box.splitlines()]
    body = lines[1:] if box.startswith("╭") else lines[2:]  # a title, in a frame or underlined
    part: list[str] = []
    for line in body:
        if set(line) <= set("─-"):
            break
        part.append(line)
    if part and part[0].startswith("Missing from"):
        names = [line for line in part[1:] if line.startswith("--") or line.isupper()]
        part = ["Missing: " + ", ".join(names)]
    close = re.search(r"Perhaps you meant:\s*(--\S+)", "\n".join(body))
    text = " ".join(part).rstrip(".") or "The arguments do not fit"
    text = text.replace(". Expected", "; expected").removeprefix(f"Error parsing {name}: ")
    text += f"; perhaps you meant {close[1]}" if close else ""
    return text[0].upper() + text[1:]


def assignments(name: str, words: Sequence[str]) -> dict[str, object]:
    """Return what `key=value` words assign.

    A value is read as a Python literal where it is one (`3`, `0.5`, `True`, `(512, 512)`,
    `512,512`), and is text otherwise.

    Args:
        name: The option, for the message.
        words: The words, each with an equals sign.
    """
    pairs: dict[str, object] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"`{name}` must be words of the form key=value; got {word!r}.")
        if key in pairs:
            raise UsageError(f"`{name}` must give every key once; got {key!r} twice.")
        try:
            pairs[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            pairs[key] = text
    return pairs
