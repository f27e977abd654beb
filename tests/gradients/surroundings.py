"""A module between two linear layers, a batch for it, and two modules with own parameters."""

import torch
from torch import nn


def examples():
    return torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def between(module):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 5), module, nn.Linear(5, 3)).double()


class Gate(nn.Module):
    """Is differentiated in one piece."""

    def __init__(self):
        super().__init__()
        self.gain, self.shift = (nn.Parameter(torch.randn(6)) for _ in range(2))

    def forward(self, x):
        return (x * self.gain + self.shift).tanh()


class Scaled(nn.Module):
    """Multiplies by a parameter of its own, beside a layer."""

    def __init__(self):
        super().__init__()
        self.gain, self.layer = nn.Parameter(torch.randn(6)), nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(x) * self.gain
