"""Dense float64 second derivatives by torch.func: the slow, obvious twin of the operators."""

import copy

import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel


class _PlainLayerNorm(nn.Module):
    """Layer normalization by its formula: torch.func's second derivative of the fused one is wrong.

    Seen in PyTorch 2.13: jacrev of jacrev gives a matrix that is not symmetric.
    """

    def __init__(self, layer):
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + self.eps).sqrt() * self.weight + self.bias


def _function(risk, names=None):
    """Return the model in float64, the chosen point [p], and a map from a vector to tensors."""
    model = copy.deepcopy(risk.model).double()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.LayerNorm):
            model.set_submodule(name, _PlainLayerNorm(layer))
    named = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
    chosen = [k for k in named if names is None or k in names]
    point = torch.cat([named[k].reshape(-1) for k in chosen])

    def unflatten(vector):
        parts = vector.split([named[k].numel() for k in chosen])
        return {k: part.view(named[k].shape) for k, part in zip(chosen, parts, strict=True)}

    x, y = risk.split.batch(torch.arange(risk.n))
    x = x.double() if x.is_floating_point() else x
    y = y.double() if y.is_floating_point() else y

    def outputs(vector, rows=slice(None)):
        return functional_call(model, unflatten(vector), (x[rows],))

    return outputs, point, y


def dense_hessian(risk, names=None):
    """Return the Hessian of the mean loss, [p, p]."""
    outputs, point, y = _function(risk, names)
    with sdpa_kernel(SDPBackend.MATH):
        return jacrev(jacrev(lambda v: risk.losses(outputs(v), y).mean()))(point)


def dense_gauss_newton(risk, names=None):
    """Return the mean over examples of J' L J, one example at a time, [p, p]."""
    outputs, point, y = _function(risk, names)
    total = torch.zeros(len(point), len(point), dtype=torch.float64)
    for i in range(risk.n):
        rows = slice(i, i + 1)
        with sdpa_kernel(SDPBackend.MATH):
            jacobian = jacrev(lambda v, rows=rows: outputs(v, rows).reshape(-1))(point)
        at = outputs(point, rows).detach()

        def loss(z, i=i, at=at):
            return risk.losses(z.view_as(at), y[i : i + 1]).sum()

        inner = jacrev(jacrev(loss))(at.reshape(-1))
        total += jacobian.T @ inner @ jacobian
    return total / risk.n


def dense_empirical_fisher(risk, names=None):
    """Return the mean over examples of the gradient's outer product, [p, p]."""
    outputs, point, y = _function(risk, names)
    with sdpa_kernel(SDPBackend.MATH):
        rows = jacrev(lambda v: risk.losses(outputs(v), y))(point)
    return rows.T @ rows / risk.n
