"""The verdict of a rule that was asked once a seed."""

from collections.abc import Sequence

from gengap.report import Verdict

EVERY_SEED = "in every seed, of at least two"
"""How the text of a rule ends that `verdict` judges."""


def verdict(holds: Sequence[bool | None]) -> Verdict:
    """Return the verdict of a rule that was asked once a seed.

    "supported" if it holds in every seed, of at least two; "not supported" if in none of them; else
    "inconclusive".

    Args:
        holds: One a seed; None where the seed cannot tell.
    """
    if len(holds) < 2 or None in holds or (any(holds) and not all(holds)):
        return "inconclusive"
    return "supported" if all(holds) else "not supported"
