"""Whole models for the engine's tests: each with examples and a loss, by name."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from gengap.data import Split
from gengap.models import mlp, resnet, small_alexnet, small_inception


class InPlaceResidual(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(norm(8) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        out = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            inner = F.relu(norm(out), inplace=True)
            inner = conv(inner)
            inner += out
            out = inner
        return self.head(F.relu_(out).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.batch_first = batch_first
        self.table, self.place = nn.Embedding(11, 8), nn.Parameter(torch.randn(6, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first, dropout=0.0)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.table(x) + self.place
        x = self.block(x if self.batch_first else x.transpose(0, 1))
        return self.head(x.mean(1 if self.batch_first else 0))


class Language(nn.Module):
    """Tied embeddings, positions by an embedding that no example owns, a causal mask."""

    def __init__(self, tied):
        super().__init__()
        self.tied = tied
        self.table, self.places = nn.Embedding(9, 8, padding_idx=0), nn.Embedding(6, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 9, bias=False)
        if tied == "modules":
            self.head.weight = self.table.weight
        if tied == "function":
            del self.head

    def forward(self, x):
        h = self.table(x) + self.places(torch.arange(x.shape[1])[None])
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        h = self.norm(h + self.attend(h, h, h, attn_mask=mask, need_weights=False)[0])
        return F.linear(h, self.table.weight) if self.tied == "function" else self.head(h)


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.layer = kind(5, 4, **options)
        width = options.get("proj_size", 4) * (2 if options.get("bidirectional") else 1)
        self.first, self.head = options.get("batch_first", False), nn.Linear(width, 4)

    def forward(self, x):
        out, state = self.layer(x if self.first else x.transpose(0, 1))
        last = state[0] if isinstance(state, tuple) else state
        return self.head(out.mean(1 if self.first else 0)) + last.sum((0, 2))[:, None]


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(5, 4), nn.Linear(4, 4)

    def forward(self, x):
        h = x.new_zeros(len(x), 4)
        for step in x.unbind(1):
            h = self.cell(step, h)
        return self.head(h)


class OwnLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix, self.scale = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.ones(4))

    def forward(self, x):
        return (x @ self.matrix).sin() * self.scale


class Bag(nn.Module):
    """Parameters of the model itself, in sums, products, and functions without a rule."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 5))
        self.gain, self.shift = nn.Parameter(torch.ones(5)), nn.Parameter(torch.randn(4, 5))
        self.mixing = nn.Parameter(torch.randn(4, 5))
        self.free, self.inner = nn.Parameter(torch.tensor(0.3)), nn.Linear(5, 5)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), 1, 5), x], 1)[:, :4]
        x = self.inner(x) * self.gain + self.shift
        return F.linear(x * torch.exp(self.free), self.mixing).mean(1)


class Branching(nn.Module):
    """Branches on numbers, and takes a parameter through a function without a rule."""

    def __init__(self):
        super().__init__()
        self.body, self.twist = nn.Linear(5, 4), nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        rows = [row @ self.twist if row.sum() > 0 else row.tanh() for row in self.body(x)]
        return torch.stack(rows)


class Frames(nn.Module):
    """Folds frames into the batch, and unfolds them."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.mix, self.act = nn.Linear(4, 4), nn.PReLU(4)

    def forward(self, x):
        b, t = x.shape[:2]
        h = self.act(self.norm(self.conv(x.flatten(0, 1)))).mean((2, 3))
        return self.mix(h).view(b, t, 4).mean(1)


class Permuted(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.LayerNorm(6)
        self.point, self.head = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return self.head(self.point(x).relu().mean((1, 2)))


class Sometimes(nn.Module):
    """A parameter that only some examples reach, by a function without a rule."""

    def __init__(self):
        super().__init__()
        self.body, self.rare = nn.Linear(5, 4), nn.Parameter(torch.randn(4))

    def forward(self, x):
        out = self.body(x)
        return torch.stack([row.exp() * self.rare if row[0] > 0.8 else row for row in out])


class Twice(nn.Module):
    def __init__(self, layer, head):
        super().__init__()
        self.layer, self.head = layer, head

    def forward(self, x):
        x = self.layer(x).relu()
        return self.head(self.layer(x).relu() + self.layer(x).tanh())


def conv_stack(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(4))


def frozen():
    model = conv_stack(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[0].requires_grad_(False)
    model[1].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    return model


def deconvolutions():
    return conv_stack(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.InstanceNorm2d(6, affine=True),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(6, 2, 2, dilation=2),
    )


def plain_norms():
    return nn.Sequential(
        nn.Linear(5, 8),
        nn.RMSNorm(8),
        nn.BatchNorm1d(8),
        nn.SiLU(),
        nn.Linear(8, 8),
        nn.LayerNorm(8, bias=False),
        nn.Linear(8, 4),
    )


def weight_norms():
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
        nn.Flatten(),
        parametrizations.weight_norm(nn.Linear(16, 4)),
    )


IMAGE, VECTOR, SERIES = (3, 6, 6), (5,), (6, 5)
MODELS = {
    "mlp": (lambda: mlp(IMAGE, 4, hidden=(9, 7)), IMAGE),
    "alexnet": (lambda: small_alexnet((3, 8, 8), 4), (3, 8, 8)),
    "inception": (lambda: small_inception((3, 8, 8), 4), (3, 8, 8)),
    "resnet, batch norm": (lambda: resnet(IMAGE, 4, depth=8, width=4), IMAGE),
    "in place, batch norm": (lambda: InPlaceResidual(nn.BatchNorm2d), IMAGE),
    "in place, group norm": (lambda: InPlaceResidual(lambda c: nn.GroupNorm(4, c)), IMAGE),
    "channels last": (
        lambda: InPlaceResidual(lambda c: nn.GroupNorm(2, c)).to(memory_format=torch.channels_last),
        IMAGE,
    ),
    "depthwise": (
        lambda: conv_stack(nn.Conv2d(3, 12, 3, groups=3), nn.ReLU(), nn.Conv2d(12, 4, 1)),
        IMAGE,
    ),
    "transposed": (deconvolutions, IMAGE),
    "one and three dimensions": (
        lambda: nn.Sequential(
            nn.Conv1d(6, 4, 3, padding=1, padding_mode="circular"),
            nn.BatchNorm1d(4),
            nn.Unflatten(1, (1, 2, 2)),
            nn.Conv3d(1, 3, (1, 1, 3), padding="same"),
            nn.InstanceNorm3d(3, affine=True, track_running_stats=True),
            nn.Flatten(),
            nn.Linear(60, 4),
        ),
        SERIES,
    ),
    "norms": (plain_norms, VECTOR),
    "permuted layer norm": (Permuted, IMAGE),
    "frozen": (frozen, IMAGE),
    "weight norm": (weight_norms, IMAGE),
    "prelu": (lambda: nn.Sequential(nn.Linear(5, 6), nn.PReLU(6), nn.Linear(6, 4)), VECTOR),
    "bilinear": (lambda: nn.Sequential(nn.Linear(5, 6), Squared(), nn.Linear(3, 4)), VECTOR),
    "attention": (lambda: Attention(True), "tokens"),
    "attention, sequence first": (lambda: Attention(False), "tokens"),
    "language": (lambda: Language(""), "text"),
    "language, tied modules": (lambda: Language("modules"), "text"),
    "language, tied by a function": (lambda: Language("function"), "text"),
    "rnn": (lambda: Recurrent(nn.RNN, nonlinearity="relu", num_layers=2), SERIES),
    "lstm": (
        lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True, batch_first=True),
        SERIES,
    ),
    "lstm, projected": (lambda: Recurrent(nn.LSTM, proj_size=3, bias=False), SERIES),
    "gru": (lambda: Recurrent(nn.GRU, bidirectional=True), SERIES),
    "gru cell": (Cells, SERIES),
    "own layer": (lambda: nn.Sequential(nn.Linear(5, 5), OwnLayer()), VECTOR),
    "own parameters": (Bag, (5, 5)),
    "branching": (Branching, VECTOR),
    "frames": (Frames, (3, 2, 5, 5)),
    "sometimes": (Sometimes, VECTOR),
    "linear twice": (lambda: Twice(nn.Linear(5, 5), nn.Linear(5, 4)), VECTOR),
    "convolution twice": (
        lambda: Twice(
            nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
        ),
        IMAGE,
    ),
    "unused": (lambda: WithUnused(), VECTOR),
}


class Squared(nn.Module):
    def __init__(self):
        super().__init__()
        self.product = nn.Bilinear(6, 6, 3)

    def forward(self, x):
        return self.product(x, x)


class WithUnused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x):
        return self.used(x)


def examples_of(kind, n):
    """Return inputs and targets of n examples."""
    if kind == "tokens":
        return torch.randint(11, (n, 6)), torch.randint(4, (n,))
    if kind == "text":
        text = torch.randint(9, (n, 6))
        targets = text.roll(-1, 1).masked_fill(torch.rand(n, 6) < 0.2, -100)
        return text, targets
    return torch.randn(n, *kind), torch.randint(4, (n,))


def build(name, n=7):
    """Return a model in evaluation mode with running statistics of its own, and its examples."""
    make, kind = MODELS[name]
    model = make()
    x, y = examples_of(kind, n)
    model.eval()
    model(x[:2])
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)):
            for p in module.parameters(recurse=False):
                nn.init.normal_(p, 1.0, 0.3)
    return model, split_of(x, y, kind)


def split_of(x, y, kind):
    return Split(inputs=x, targets=y, num_classes=None if kind == "text" else 4)
