"""What a meter must read: gradients of one example at a time."""

import copy

import torch
from torch.nn import functional as F


def gradients_one_by_one(model, x, y, loss=F.cross_entropy):
    """Name to the gradients [n, ...] of the examples' own losses."""
    model = copy.deepcopy(model)
    rows = []
    for i in range(len(x)):
        model.zero_grad()
        loss(model(x[i : i + 1]), y[i : i + 1]).backward()
        rows.append({
            name: torch.zeros_like(p) if p.grad is None else p.grad.to_dense().clone()
            for name, p in model.named_parameters()
            if p.requires_grad
        })
    return {name: torch.stack([row[name] for row in rows]).flatten(1) for name in rows[0]}


def m_coherence_of(blocks):
    stacked = torch.cat(list(blocks.values()), dim=1).double()
    return float(stacked.sum(0).square().sum() / stacked.square().sum())


def batch(n=7, d=5, classes=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    return x, torch.randint(classes, (n,), generator=generator)
