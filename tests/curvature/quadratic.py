"""Risks whose sharpness is known: linear regression, whose risk is a quadratic; small networks."""

import numpy as np
import torch
from torch import nn

from gengap import Risk
from gengap.data import Split, gaussian_clusters


def regression(n=20, p=5, *, seed=0, noise=0.0):
    """Linear regression at its minimum; also the Hessian, [p, p]."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(n, p)) * np.linspace(0.5, 2, p))
    model = nn.utils.skip_init(nn.Linear, p, 1, bias=False, dtype=torch.float64)
    weights = torch.from_numpy(rng.normal(size=(1, p)))
    y = x @ weights.T + noise * torch.from_numpy(rng.normal(size=(n, 1)))
    best = torch.linalg.lstsq(x, y).solution.T
    with torch.no_grad():
        model.weight.copy_(best)
    split = Split(inputs=x, targets=y)
    return Risk(model, split, loss="squared_error", chunk=7), (x.T @ x / n).numpy()


def isotropic(p=4, *, n=8):
    """A quadratic whose Hessian is the identity, at its minimum of 0."""
    x = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).normal(size=(n, p))))[0] * n**0.5
    model = nn.utils.skip_init(nn.Linear, p, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.arange(1.0, p + 1)[None])
    split = Split(inputs=x, targets=x @ model.weight.detach().T)
    return Risk(model, split, loss="squared_error")


def rescaled(model, first, second, factor):
    """The same function: every parameter named in `first` times a factor, in `second` over it."""
    import copy

    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name in first:
                parameter *= factor
            if name in second:
                parameter /= factor
    return twin


def network(*, hidden=8, n=60, dim=6, classes=3, steps=0, seed=0):
    """A two-layer ReLU network and its data, a few steps of gradient descent old; float64."""
    split = gaussian_clusters(n, dim=dim, num_classes=classes, separation=2.0, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    model = model.double()
    with torch.no_grad():
        model[0].bias.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(seed))
    risk = Risk(model, split, dtype=torch.float64, chunk=17)
    point = {k: v.clone() for k, v in risk.params.items()}
    for _ in range(steps):
        gradient = risk.gradient(point)
        point = {k: v - 0.5 * gradient[k] for k, v in point.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(point[name])
    return model, split


FIRST, SECOND = ("0.weight", "0.bias"), ("2.weight",)
