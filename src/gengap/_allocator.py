"""Freed memory is kept for the next tensors, in processes that belong to gengap."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26, _MMAP_THRESHOLD: 2**25}
"""Bytes: the largest for the first, the C library's own limit for the last."""


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed; return whether it was told.

    A step of training frees the maps that the next step asks for. The C library of Linux returns
    them to the system between, which then clears every page again: up to a quarter of the time
    of convolutional networks. For a whole process, so only for those that are ours. Settings of
    the user's, in variables `MALLOC_...` and `GLIBC_TUNABLES`, are left alone.
    """
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if chosen or sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(name, value) == 1 for name, value in _SETTINGS.items()])
