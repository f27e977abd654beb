"""What the tests of the command line share."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Let the parser and the progress bar draw from Python's own generator; nothing of ours does.

    (tyro draws when it empties a cache, rich when it makes a task.)
    """
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.global_rng("random"))
