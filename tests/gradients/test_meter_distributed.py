"""Twin: a meter under DistributedDataParallel, two processes. Oracle: one process, whole batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter


@pytest.mark.global_rng
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without distributed")
def test_two_processes_read_what_one_reads_of_the_whole_batch(tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)])
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(3, (12,))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        whole = meter.read()
    for rank in range(2):
        m_coherence, examples, per_layer = json.loads((tmp_path / f"{rank}.json").read_text())
        assert m_coherence == pytest.approx(whole.m_coherence, rel=1e-10)
        assert examples == 12
        assert per_layer == pytest.approx(whole.per_layer, rel=1e-10)
