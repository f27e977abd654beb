"""Networks as users write them: functions, loops, sums, slices."""

import torch
from torch import nn
from torch.nn import functional as F


class Functional(nn.Module):
    """Everything by functions, with a view whose size is read from the tensor."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3)
        self.first, self.last = nn.Linear(6 * 2 * 2, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = torch.relu(self.conv2(x)).view(x.size(0), -1)
        return self.last(F.dropout(F.leaky_relu(self.first(x), 0.2), training=self.training))


class Residual(nn.Module):
    """A sum written as `out += x`, in-place functions, a loop over layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 5, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(5, 5, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.stem(x), inplace=True)
        for block in self.blocks:
            out = block(x)
            out += x
            x = F.relu_(out)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Concatenating(nn.Module):
    """Branches put side by side, then only a part of them used, with a learned gain."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 4, 3, padding=1)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 7).view(7, 1, 1))
        self.mix, self.slope = nn.Conv2d(7, 6, 3, groups=1), nn.PReLU(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        both = torch.cat((torch.relu(self.left(x)), F.avg_pool2d(self.right(x), 3, 1, 1)), dim=1)
        x = self.slope(self.mix(both * self.gain))
        if x.shape[-1] > 2:  # control flow on sizes
            x = x[..., ::2, ::2]
        return self.head(x.mean(dim=(2, 3)))


class Attending(nn.Module):
    """Attention by hand, on a sequence, with a learned token in front."""

    def __init__(self):
        super().__init__()
        self.embed, self.token = nn.Linear(4, 8), nn.Parameter(torch.ones(1, 1, 8) / 2)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        b = len(x)
        x = torch.cat([self.token.expand(b, -1, -1), self.embed(x)], dim=1)
        q, k, v = self.qkv(x).view(b, -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-2, -1) / 4**0.5, dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(b, -1, 8))
        return self.head(self.norm(x)[:, 0])


class Mixed(nn.Module):
    """A gate, a GELU and a tied layer among things that do scale."""

    def __init__(self):
        super().__init__()
        self.first, self.gate = nn.Linear(4, 6), nn.Linear(4, 6)
        self.twice, self.narrow = nn.Linear(6, 6), nn.Linear(6, 5)
        self.act, self.head = nn.GELU(), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.first(x)) * torch.sigmoid(self.gate(x))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.head(self.act(self.narrow(x)))


class Vgg(nn.Module):
    """A small VGG with BatchNorm in half of it."""

    def __init__(self):
        super().__init__()
        layers, width = [], 1
        for number, outputs in enumerate((4, 4, 8, 8)):
            layers.append(nn.Conv2d(width, outputs, 3, padding=1, bias=number < 2))
            layers += [nn.BatchNorm2d(outputs)] if number > 1 else []
            layers += [nn.ReLU(inplace=True)] + ([nn.MaxPool2d(2)] if number % 2 else [])
            width = outputs
        self.features, self.pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Linear(32, 10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, 3)
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class Transformer(nn.Module):
    """A small vision transformer: patches, positions, two pre-norm blocks of PyTorch's own."""

    def __init__(self, activation="gelu"):
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, stride=2)
        self.positions = nn.Parameter(torch.linspace(-1, 1, 16 * 8).view(1, 16, 8))
        block = nn.TransformerEncoderLayer(
            8, 2, 12, activation=activation, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))


def randomized(model, seed=0):
    """The model with all parameters and statistics moved off their first values, in float64."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b += torch.randn(b.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                b *= 0.1 + torch.rand(b.shape, generator=generator, dtype=torch.float64)
    return model


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
