"""At which steps a callback reads its meter."""

DENSE = 25


def is_read(step: int, every: int) -> bool:
    """Whether step 1, 2, ... is read: all of the first 25, then every so many."""
    return step <= DENSE or step % every == 0
