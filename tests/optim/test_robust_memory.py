"""Property: a winsorized step holds the gradients of single examples of one layer at a time."""

import subprocess
import sys

import pytest

LAYERS, MEBIBYTES = 6, 256 * 64 * 64 * 9 * 4 / 2**20
SCRIPT = f"""
import ctypes
from pathlib import Path
import torch
from torch import nn
from torch.nn import functional as F
from gengap.optim import WinsorizedSGD

torch.set_num_threads(1)
layers = [nn.Conv2d(64, 64, 3, padding=1) for _ in range({LAYERS})]
model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 3))
x, y = torch.randn(256, 64, 4, 4), torch.arange(256) % 3
optimizer = WinsorizedSGD(model.parameters(), 0.01, model=model, percent=2)

def step(rows):
    optimizer.zero_grad()
    with optimizer.robust():
        F.cross_entropy(model(x[:rows]), y[:rows]).backward()
    optimizer.step()

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

step(8)
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
before = peak()
step(256)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is asked of Linux")
def test_one_layers_block_is_in_memory():
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    grown = float(found.stdout)
    assert MEBIBYTES <= grown < 2.5 * MEBIBYTES < LAYERS * MEBIBYTES
