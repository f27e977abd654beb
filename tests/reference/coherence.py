"""The slow, obvious twin: every gradient in one matrix, every pair in one loop; float64."""

import itertools

import numpy as np
import torch
from torch import nn

from gengap import Risk
from gengap.data import Split


def stacked(risk):
    """The gradients of a risk's examples, one example at a time, parameter to [n, size]."""
    names = [name for name, p in risk.model.named_parameters() if p.requires_grad]
    rows = {name: [] for name in names}
    for i in range(risk.n):
        x, y = risk.split.batch(torch.tensor([i]))
        loss = risk.losses(risk.model(x.to(risk.dtype)), y).sum()
        wanted = [dict(risk.model.named_parameters())[name] for name in names]
        for name, g in zip(names, torch.autograd.grad(loss, wanted), strict=True):
            rows[name].append(g.double().flatten().numpy())
    return {name: np.stack(values) for name, values in rows.items()}


def matrix(risk):
    return np.concatenate(list(stacked(risk).values()), axis=1)


def alpha(g):
    return np.square(g.mean(0)).sum() / np.square(g).sum(1).mean()


def unbiased_alpha(g):
    """Mean over all ordered pairs of two different rows, over the mean squared norm."""
    pairs = [float(g[i] @ g[j]) for i, j in itertools.permutations(range(len(g)), 2)]
    return np.mean(pairs) / np.square(g).sum(1).mean()


def jackknife_error(g):
    """Leave out one row after the other and start again."""
    n = len(g)
    values = np.array([unbiased_alpha(np.delete(g, i, axis=0)) for i in range(n)])
    return np.sqrt((n - 1) / n * np.square(values - values.mean()).sum())


def alignments(g):
    """Cosine of each row and the mean of the others."""
    found = []
    for i in range(len(g)):
        others = np.delete(g, i, axis=0).mean(0)
        found.append(g[i] @ others / (np.linalg.norm(g[i]) * np.linalg.norm(others)))
    return np.array(found)


class Blocks(nn.Module):
    """Gives (v . w) for example v, so that v is its gradient, in blocks of these widths."""

    def __init__(self, widths):
        super().__init__()
        self.widths = list(widths)
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, width, 1, bias=False, dtype=torch.float64)
            for width in widths
        )
        for layer in self.layers:
            nn.init.zeros_(layer.weight)

    def forward(self, x):
        parts = x.split(self.widths, dim=1)
        return sum(layer(part) for layer, part in zip(self.layers, parts, strict=True))


def output_itself(outputs, targets):
    return outputs.squeeze(1)


def risk_of(vectors, *, widths=None, targets=None, dtype=None, **more):
    """A risk whose examples have these gradients, [n, p]."""
    vectors = torch.as_tensor(np.asarray(vectors, dtype=np.float64))
    labels = torch.zeros(len(vectors), dtype=torch.int64) if targets is None else targets
    split = Split(inputs=vectors, targets=labels, num_classes=int(labels.max()) + 1, **more)
    return Risk(Blocks(widths or [vectors.shape[1]]), split, loss=output_itself, dtype=dtype)
