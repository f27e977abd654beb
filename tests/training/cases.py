"""Small splits and networks that the tests of training share."""

import itertools

import torch
from torch import nn

from gengap._streams import streams
from gengap.data import Split


def make_split(n=40, shape=(6,), classes=3, seed=0, half="train", **fields):
    draw = streams(seed)("test", half)
    inputs = torch.randn(n, *shape, generator=draw)
    targets = torch.randint(classes, (n,), generator=draw)
    targets[:classes] = torch.arange(classes)
    return Split(inputs=inputs, targets=targets, num_classes=classes, half=half, **fields)


def make_images(n=24, channels=2, side=6, classes=3, seed=0, half="train", **fields):
    draw = streams(seed)("images", half)
    inputs = torch.randint(256, (n, channels, side, side), generator=draw, dtype=torch.uint8)
    targets = torch.randint(classes, (n,), generator=draw)
    return Split(inputs=inputs, targets=targets, num_classes=classes, half=half, **fields)


def make_real(n=30, dim=5, width=2, seed=0):
    draw = streams(seed)("real")
    return Split(
        inputs=torch.randn(n, dim, generator=draw), targets=torch.randn(n, width, generator=draw)
    )


def perceptron(dim=6, hidden=(8,), classes=3, bias=True, dropout=0.0):
    widths = [dim, *hidden]
    layers = [nn.Flatten()]
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes, bias=bias))


def tanh_network(dim=6, classes=3):
    return nn.Sequential(nn.Linear(dim, 7), nn.Tanh(), nn.Linear(7, classes))


def normed(dim=6, classes=3, dropout=0.0):
    return nn.Sequential(
        nn.Linear(dim, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, classes)
    )


def convolutional(channels=2, classes=3, dropout=0.0):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(dropout),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(16, classes),
    )


class Viewed(nn.Module):
    """A convolution whose output is looked at as rows, which asks for the order in memory."""

    def __init__(self, channels=2, classes=3):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4)
        self.drop, self.out = nn.Dropout(0.0), nn.Linear(64, classes)

    def forward(self, x):
        h = torch.relu(self.norm(self.conv(x)))
        return self.out(self.drop(h.view(len(h), -1)))


class Centred(nn.Module):
    """Puts a new tensor in the place of a buffer, as running means are often written."""

    def __init__(self, dim=6, classes=3):
        super().__init__()
        self.out = nn.Linear(dim, classes)
        self.register_buffer("mean", torch.zeros(dim))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.out(x - self.mean)


def weights(model):
    return torch.cat([v.detach().double().flatten() for v in model.state_dict().values()])
