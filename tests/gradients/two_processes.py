"""Run by test_meter_distributed.py: one process of two, under DistributedDataParallel."""

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter


class Either(nn.Module):
    """Uses one layer or the other, by the first number that it is given."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.last = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        chosen = self.one if x[0, 0] > 0 else self.other
        return self.last(torch.relu(chosen(x)))


class Elsewhere(nn.Module):
    """Uses a parameter in a way without a rule where the first number is positive."""

    def __init__(self):
        super().__init__()
        self.line, self.matrix = nn.Linear(5, 3), nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        matrix = self.matrix if x[0, 0] > 0 else self.matrix.detach()
        return self.line(x) + F.conv1d(x.unsqueeze(-1), matrix.T.unsqueeze(-1)).squeeze(-1)


rank, folder, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
)
torch.default_generator.manual_seed(0)
build = {
    "plain": lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)),
    "either": Either,
    "elsewhere": Elsewhere,
    "one alone": lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)),
}
model = build[kind]().double()
x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(3, (12,))
x[0, 0], x[6, 0] = 1.0, -1.0
parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=kind != "plain")
mine = slice(6 * rank, 6 * rank + 6)
with CoherenceMeter(parallel) as meter:
    if kind != "one alone":
        F.cross_entropy(parallel(x[mine]), y[mine]).backward()
    elif rank == 0:  # without the wrapper, which would wait for the other process
        F.cross_entropy(model(x[mine]), y[mine]).backward()
    try:
        reading = meter.read()
        text = json.dumps([reading.m_coherence, reading.examples, reading.per_layer])
    except ValueError as error:
        text = json.dumps(str(error))
Path(folder, f"{rank}.json").write_text(text, encoding="utf-8")
torch.distributed.barrier()  # a process whose partner is gone may abort while it takes leave
torch.distributed.destroy_process_group()
os._exit(0)  # threads of gloo that are still there now and then abort a process that leaves
