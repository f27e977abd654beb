"""Networks in which parameters alone make values that all examples share, and where these go."""

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, LENGTH, HEADS = 8, 5, 2


class Network(nn.Module):
    """Examples [b, LENGTH, WIDTH] to three outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x):
        return self.last(self.mixed(self.first(x)).tanh().mean(1))


class Added(Network):
    """A table that is looked up without examples, added after `use`."""

    def __init__(self, use=lambda rows: rows):
        super().__init__()
        self.use, self.table = use, nn.Embedding(LENGTH, WIDTH)

    def mixed(self, x):
        return x + self.use(self.table(torch.arange(LENGTH)))


class RelativePositions(Network):
    """One table of distances for two layers of attention, as in T5."""

    def __init__(self, fused=False, named=True, in_place=False):
        super().__init__()
        self.fused, self.named, self.in_place = fused, named, in_place
        self.bias = nn.Embedding(2 * LENGTH - 1, HEADS)
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def mixed(self, x):
        place = torch.arange(LENGTH)
        distances = place[:, None] - place[None] + LENGTH - 1
        bias = self.bias(distances).permute(2, 0, 1).unsqueeze(0)
        for _ in range(2):
            x = x + self.attention(x, bias)
        return x

    def attention(self, x, bias):
        q, k, v = (
            t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (self.query(x), self.key(x), x)
        )
        if self.fused:
            given = {"attn_mask": bias} if self.named else {}
            rest = () if self.named else (bias,)
            return (
                F.scaled_dot_product_attention(q, k, v, *rest, **given).transpose(1, 2).flatten(2)
            )
        scores = q @ k.mT
        if self.in_place:
            scores += bias
        else:
            scores = scores + bias
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class Windows(Network):
    """Windows of an example one after the other, and a table indexed by a buffer, as in Swin."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, HEADS))
        self.register_buffer("index", torch.arange(9).view(3, 3) % 7)
        self.inner = nn.Linear(WIDTH, WIDTH)

    def mixed(self, x):
        x = torch.cat([x, x[:, :1]], 1).unflatten(1, (2, 3)).flatten(0, 1)  # [2 b, 3, width]
        bias = self.table[self.index.view(-1)].view(3, 3, HEADS).permute(2, 0, 1).contiguous()
        q = self.inner(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        found = ((q @ q.mT + bias.unsqueeze(0)).softmax(-1) @ q).transpose(1, 2).flatten(2)
        return found.unflatten(0, (-1, 2)).flatten(1, 2)


class Coordinates(Network):
    """A perceptron on coordinates, as in Swin's second version, and a scale."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 1, bias=False)
        )
        self.scale = nn.Parameter(torch.ones(1))

    def mixed(self, x):
        place = torch.arange(float(LENGTH)).to(x)
        grid = torch.stack(torch.meshgrid(place, place, indexing="ij"), -1)
        bias = 4 * torch.sigmoid(self.mlp(grid)).squeeze(-1)
        return ((x @ x.mT) * self.scale.exp() + bias).softmax(-1) @ x


class Disentangled(Network):
    """Projected positions that are repeated for every example and multiplied, as in DeBERTa."""

    def __init__(self):
        super().__init__()
        self.positions, self.key = nn.Embedding(6, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def mixed(self, x):
        keys = self.key(self.norm(self.positions.weight)).unsqueeze(0).repeat(len(x), 1, 1)
        scores = torch.bmm(self.key(x), keys.mT)
        return x + scores.softmax(-1) @ self.norm(self.positions.weight)


class OwnPositions(nn.Embedding):
    """Positions from the shape of what it is given, as in BART."""

    def forward(self, x):
        return super().forward(torch.arange(x.shape[1]).unsqueeze(0))


class SlicedPositions(nn.Embedding):
    """A slice of the table, as in Whisper."""

    def forward(self, x):
        return self.weight[1 : x.shape[1] + 1]


class Positions(Network):
    def __init__(self, kind):
        super().__init__()
        self.positions = kind(LENGTH + 2, WIDTH)

    def mixed(self, x):
        return x + self.positions(x)


class Prefix(Network):
    """Tokens that a perceptron makes of a table, joined to each example's."""

    def __init__(self):
        super().__init__()
        self.table, self.inner = nn.Embedding(3, WIDTH), nn.Linear(WIDTH, WIDTH)

    def mixed(self, x):
        tokens = self.inner(self.table(torch.arange(3))).tanh().unsqueeze(0)
        return torch.cat([tokens.expand(len(x), -1, -1), x], 1)


class Queries(Network):
    """Queries repeated for every example, to a module that is differentiated in one piece."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 3, WIDTH))
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def mixed(self, x):
        return self.inner(self.queries.repeat(len(x), 1, 1).sin(), x, x)[0]


class MadeWeights(Network):
    """A weight that another layer makes: times rows, times matrices, and in a linear layer."""

    def __init__(self, way):
        super().__init__()
        self.way, self.code = way, nn.Parameter(torch.randn(4))
        self.maker = nn.Linear(4, WIDTH * WIDTH)

    def mixed(self, x):
        weight = self.maker(self.code).view(WIDTH, WIDTH)
        return WAYS[self.way](x, weight)


WAYS = {
    "rows": lambda x, w: torch.stack([t.sin() @ w for t in x.unbind(1)], 1),
    "matrices": lambda x, w: x @ w,
    "linear": lambda x, w: F.linear(x, w, w[0]),
    "linear of rows": lambda x, w: F.linear(x.mean(1), w, w.sum(1)).unsqueeze(1),
    "einsum": lambda x, w: torch.einsum("bti,io->bto", x, w),
    "from the left": lambda x, w: w[:LENGTH, :LENGTH] @ x,
}


class Borrowed(Network):
    """A layer that is never called: its weight and bias are given to a function."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.inner = rows, nn.Linear(WIDTH, WIDTH)

    def mixed(self, x):
        if self.rows:
            return F.linear(x.flatten(0, 1), self.inner.weight, self.inner.bias).unflatten(
                0, (-1, LENGTH)
            )
        return F.linear(x, self.inner.weight, self.inner.bias)


class Prototypes(Network):
    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def mixed(self, x):
        return -(x.unsqueeze(2) - self.prototypes).square().sum(-1)


class Cosines(Network):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def mixed(self, x):
        return F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))


class Tied(Network):
    """One table for tokens of the examples and for positions."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(LENGTH, WIDTH)

    def mixed(self, x):
        tokens = x.detach().argmax(-1) % LENGTH
        return x + self.table(tokens) + self.table(torch.arange(LENGTH)).roll(1, 0)


class Twice(Network):
    """One value that meets tensors of two and of three axes."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(1, WIDTH)

    def mixed(self, x):
        value = self.table(torch.zeros(1, dtype=torch.long)).sin()
        return (x.mean(1) * value).unsqueeze(1) + x * value


class Bounded(Network):
    """Functions by their other names, with operands by name and in a list."""

    def __init__(self):
        super().__init__()
        self.bound = nn.Parameter(torch.rand(WIDTH) + 0.2)

    def mixed(self, x):
        x = torch.clamp(x, min=-self.bound, max=self.bound)
        x = torch.multiply(x, self.bound) + torch.einsum("btd,d->btd", [x, self.bound])
        return torch.hypot(torch.mul(input=x, other=self.bound), self.bound)


COMMON = {
    "bounded": Bounded,
    "added": Added,
    "added, scaled": lambda: Added(lambda p: 2 * p.tanh()),
    "one row": lambda: Added(lambda p: p[2]),
    "mean": lambda: Added(lambda p: p.mean(0)),
    "an axis more": lambda: Added(lambda p: p.unsqueeze(0)),
    "repeated": lambda: Added(lambda p: p[None].repeat(1, 1, 1)),
    "turned": lambda: Added(lambda p: p.t().t()),
    "relative": RelativePositions,
    "relative, in place": lambda: RelativePositions(in_place=True),
    "relative, fused": lambda: RelativePositions(fused=True),
    "relative, fused, by position": lambda: RelativePositions(fused=True, named=False),
    "windows": Windows,
    "coordinates": Coordinates,
    "disentangled": Disentangled,
    "own positions": lambda: Positions(OwnPositions),
    "sliced positions": lambda: Positions(SlicedPositions),
    "prefix": Prefix,
    "queries": Queries,
    **{f"made weights, {way}": lambda way=way: MadeWeights(way) for way in WAYS},
    "borrowed": lambda: Borrowed(rows=False),
    "borrowed, rows": lambda: Borrowed(rows=True),
    "prototypes": Prototypes,
    "cosines": Cosines,
    "tied": Tied,
    "twice": Twice,
}
