"""Property: memory that was freed is not asked of the system again; users' settings stand."""

import ctypes
import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from torch import nn
from gengap._allocator import keep_freed_memory
torch.set_num_threads(1)
told = keep_freed_memory() if sys.argv[1] == "keep" else None
network = nn.Sequential(*[nn.Conv2d(8, 8, 3, padding=1) for _ in range(8)])
images = torch.zeros(64, 8, 32, 32)
def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        network.zero_grad()
        network(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(5)
print(told, faults(10))
"""

needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="only glibc is told",
)


def faults(way, **variables):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, way],
        env={**plain, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    told, count = found.stdout.split()
    return told, int(count)


@needs_glibc
def test_freed_memory_is_not_asked_for_again():
    told, kept = faults("keep")
    _, left = faults("leave")
    assert told == "True" and 4 * kept < left


@needs_glibc
def test_settings_of_the_users_are_left_alone():
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="100000")[0] == "False"
    assert faults("keep", GLIBC_TUNABLES="glibc.malloc.arena_max=2")[0] == "False"
