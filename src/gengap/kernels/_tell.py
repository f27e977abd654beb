"""How far a solve is, said on standard error."""

import sys
import time
from collections.abc import Callable

Tell = Callable[[str], None]
EVERY = 2.0


def silent(line: str) -> None:
    """Say nothing."""
    del line


def spoken() -> Tell:
    """Return what prints a line and the seconds since now, every two seconds at most."""
    began = said = time.monotonic()

    def tell(line: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            print(f"kernel solve, {now - began:.0f} s: {line}", file=sys.stderr, flush=True)

    return tell
