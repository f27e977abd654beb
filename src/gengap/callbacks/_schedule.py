"""At which steps a callback reads its meter."""

from gengap._checks import check_count

DENSE = 25


def is_read(step: int, every: int) -> bool:
    """Whether step 1, 2, ... is read: all of the first 25, then every so many."""
    return step <= DENSE or step % every == 0


def check_every(every: int) -> int:
    """Require a whole number of steps."""
    check_count("every", every)
    return every
