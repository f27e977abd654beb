"""The command line: one file a verb, which parses, calls and prints."""

from ._main import main as main
