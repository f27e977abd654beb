"""What the tests of the lab share."""

import pytest

from tests.lab.sweep import DIGITS


@pytest.fixture(scope="session", autouse=True)
def digits():
    """Read the data before any test: the first import of its reader draws from `random`."""
    DIGITS.load()
