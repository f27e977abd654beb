"""Run by test_meter_distributed.py: one process of two, under DistributedDataParallel."""

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
)
torch.default_generator.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
x, y = torch.randn(12, 5, dtype=torch.float64), torch.randint(3, (12,))
parallel = nn.parallel.DistributedDataParallel(model)
mine = slice(6 * rank, 6 * rank + 6)
with CoherenceMeter(parallel) as meter:
    F.cross_entropy(parallel(x[mine]), y[mine]).backward()
    reading = meter.read()
text = json.dumps([reading.m_coherence, reading.examples, reading.per_layer])
Path(folder, f"{rank}.json").write_text(text, encoding="utf-8")
torch.distributed.barrier()  # a process whose partner is gone may abort while it takes leave
torch.distributed.destroy_process_group()
os._exit(0)  # threads of gloo that are still there now and then abort a process that leaves
