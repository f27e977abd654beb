"""The verdict of a rule that was asked once a seed."""

from collections.abc import Sequence

from gengap.report import Verdict

EVERY_SEED = "in every seed, of at least two"
"""The tail of a rule that `verdict` decides."""


def verdict(holds: Sequence[bool | None]) -> Verdict:
    """Return the verdict of a rule that was asked once a seed; None where one cannot tell."""
    if len(holds) < 2 or None in holds or (any(holds) and not all(holds)):
        return "inconclusive"
    return "supported" if all(holds) else "not supported"
