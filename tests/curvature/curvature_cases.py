"""Small networks of many kinds with a few examples each, in float64."""

import torch
from torch import nn
from torch.nn import functional as F

from gengap import Risk
from gengap._streams import own_draws
from gengap.data import Split, as_split


class Residual(nn.Module):
    """A linear layer beside a shortcut, by an in-place sum."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        out = self.inner(x)
        out += x
        return F.relu(out, inplace=True)


class Attention(nn.Module):
    """One head of scaled dot-product attention over the rows of an image."""

    def __init__(self, width, classes):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        q, k, v = self.qkv(x.flatten(1, 2)).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v).mean(1))


class Tied(nn.Module):
    """One matrix used twice."""

    def __init__(self, width, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) / width**0.5)
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        return self.out(torch.tanh(torch.tanh(x @ self.weight) @ self.weight))


def flat(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


def _batch_norm():
    net = nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
    return nn.Sequential(net, nn.Linear(27, 3))


BUILD = {
    "mlp": lambda: flat(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)),
    "deep tanh": lambda: flat(nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(),
                              nn.Linear(5, 3)),
    "conv": lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                  nn.Flatten(), nn.Linear(16, 3)),
    "batch norm": _batch_norm,
    "group norm": lambda: nn.Sequential(nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.ReLU(),
                                        nn.Flatten(), nn.Linear(36, 3)),
    "residual": lambda: flat(nn.Linear(16, 6), Residual(6), nn.Linear(6, 3)),
    "attention": lambda: Attention(4, 3),
    "tied": lambda: flat(Tied(16, 3)),
    "layer norm": lambda: flat(nn.Linear(16, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)),
    "regression": lambda: flat(nn.Linear(16, 7), nn.Tanh(), nn.Linear(7, 2)),
}  # fmt: skip
"""Ten networks for inputs of shape [1, 4, 4] with three classes; the last one with 2 numbers."""


def risk_of(name, *, n=37, chunk=10, seed=0, dtype=torch.float64):
    """Return a risk of a case; the last chunk has 7 examples of 37."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 4, 4, generator=g)
    with own_draws(seed):
        model = BUILD[name]()
        if name == "batch norm":
            model(x)
    if name == "regression":
        split = as_split(x, torch.randn(n, 2, generator=g), regression=True)
        return Risk(model, split, loss="squared_error", chunk=chunk, dtype=dtype)
    y = torch.randint(0, 3, (n,), generator=g)
    return Risk(model, Split(inputs=x, targets=y, num_classes=3), chunk=chunk, dtype=dtype)


def quadratic(values, *, copies=1):
    """Return a linear regression whose Hessian has each of given eigenvalues `copies` times."""
    d = len(values)
    x = (d * torch.tensor(values, dtype=torch.float64)).sqrt().diag()
    g = torch.Generator().manual_seed(3)
    x = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0] @ x
    split = Split(inputs=x, targets=torch.zeros(d, copies, dtype=torch.float64), num_classes=None)
    with own_draws(0):
        model = nn.Linear(d, copies, bias=False).double()
    return Risk(model, split, loss="squared_error", chunk=7)
