"""A module between two linear layers, and a batch for it."""

import torch
from torch import nn


def examples():
    return torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def between(module):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 5), module, nn.Linear(5, 3)).double()
