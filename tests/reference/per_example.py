"""Gradients of one example at a time: the slow, obvious twin of the engine."""

import copy

import torch


def gradients_one_by_one(model, x, y=None, loss=None):
    """Return float64 gradients [n, *shape] by parameter name; zero where autograd has none.

    `loss` maps outputs and targets of a batch of one to its loss; None is the sum of squares of
    the output. The model is copied to float64, every example is given to it alone.
    """
    model = copy.deepcopy(model).double()
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = {name: [] for name in named}
    for i in range(len(x)):
        xi = x[i : i + 1].contiguous()  # GroupNorm of one example in channels_last may crash
        outputs = model(xi.double() if xi.is_floating_point() else xi)
        value = outputs.square().sum() if loss is None else loss(outputs, y[i : i + 1]).sum()
        grads = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        for (name, p), grad in zip(named.items(), grads, strict=True):
            rows[name].append(torch.zeros_like(p) if grad is None else grad.detach())
    return {name: torch.stack(parts) for name, parts in rows.items()}
