"""Twin: models that fold several rows an example into the batch. Oracle: one example at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gengap.gradients import CoherenceMeter
from gengap.optim import WinsorizedSGD, winsorized_mean
from tests.gradients.meter_oracle import batch, gradients_one_by_one, m_coherence_of

pytestmark = pytest.mark.global_rng


class Views(nn.Module):
    """Both halves of the inputs in one pass, one after the other: siamese networks, SimCLR."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        rows = self.inner(torch.cat([x[:, :4], x[:, 4:]])).tanh()
        left, right = rows.chunk(2)
        return self.head(left * right)


class Repeated(nn.Module):
    """Every example k times, with noise from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.head = nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        places = torch.arange(4, dtype=x.dtype).repeat_interleave(len(x))[:, None]
        rows = self.norm(self.inner(x.repeat(4, 1) * (1 + places)))
        return self.head(rows.relu()).unflatten(0, (4, -1)).mean(0)


class TimeFirst(nn.Module):
    """Frames folded step by step, through a convolution, norms, a table and a leaf."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(1, 4, 2), nn.GroupNorm(2, 4)
        self.slope, self.table = nn.PReLU(4), nn.Embedding(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        frames = x.unflatten(1, (2, 4)).transpose(0, 1).flatten(0, 1)
        rows = self.slope(self.norm(self.conv(frames[:, None]))).mean(2)
        rows = rows + self.table((frames[:, 0] > 0).long())
        return self.head(rows).unflatten(0, (2, -1)).mean(0)


class ViewsOfFrames(nn.Module):
    """Views outside the examples, frames inside: rows are [2, b, 2]."""

    def __init__(self):
        super().__init__()
        self.inner, self.mix = nn.Linear(2, 6), nn.MultiheadAttention(6, 2, batch_first=True)
        self.slope, self.head = nn.PReLU(6), nn.Linear(6, 3)

    def forward(self, x):
        rows = torch.cat([x[:, :4], x[:, 4:]]).unflatten(1, (2, 2)).flatten(0, 1)
        rows = self.slope(self.inner(rows))
        rows = self.mix(*[rows.unflatten(1, (3, 2)).repeat(1, 1, 3)] * 3)[0].mean(1)
        return self.head(rows.unflatten(0, (2, -1, 2)).mean((0, 2)))


class Frames(nn.Module):
    """The frames of an example one after the other, the first of them dead."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        nn.init.constant_(self.inner.bias, -50.0)

    def forward(self, x):
        rows = self.inner(x.unflatten(1, (2, 4)).flatten(0, 1)).relu()
        return self.head(rows).unflatten(0, (-1, 2)).mean(1)


class OwnScale(nn.Module):
    """A module with layers and a scale of its own on rows in the order of the steps."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.linspace(-1, 1, 6))

    def forward(self, x):
        rows = x.unflatten(1, (2, 4)).transpose(0, 1).flatten(0, 1)
        rows = (self.inner(rows) * self.scale).tanh()
        return self.head(rows).unflatten(0, (2, -1)).mean(0)


class StepsBefore(nn.Module):
    """Rows of an example, in either order, on the second axis; layers without a rule there."""

    outer = 1

    def __init__(self):
        super().__init__()
        self.inner, self.slope, self.head = nn.Linear(2, 6), nn.PReLU(), nn.Linear(6, 3)
        self.mix = nn.MultiheadAttention(6, 2)

    def forward(self, x):
        steps = x.unflatten(1, (2, 2, 2)).permute(2, *((1, 0) if self.outer > 1 else (0, 1)), 3)
        rows = self.slope(self.inner(steps.flatten(1, 2)))
        rows = self.head(self.mix(rows, rows, rows)[0].mean(0))
        return rows.unflatten(0, (2, -1)).mean(0) if self.outer > 1 else rows.view(-1, 2, 3).mean(1)


class StepsBeforeOutside(StepsBefore):
    outer = 2


class Positions(nn.Module):
    """Steps and their positions folded together, in either order."""

    inside = True

    def __init__(self):
        super().__init__()
        self.inner, self.places, self.head = nn.Linear(2, 6), nn.Embedding(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        steps, places = x.unflatten(1, (4, 2)), torch.arange(4)
        if self.inside:
            steps, places = steps.flatten(0, 1), places.repeat(len(x))
        else:
            steps = steps.transpose(0, 1).flatten(0, 1)
            places = places.repeat_interleave(len(x))
        rows = self.head((self.inner(steps) + self.places(places)).tanh())
        return rows.unflatten(0, (-1, 4) if self.inside else (4, -1)).mean(int(self.inside))


class PositionsOutside(Positions):
    inside = False


FOLDED = [
    StepsBefore,
    StepsBeforeOutside,
    OwnScale,
    Positions,
    PositionsOutside,
    Views,
    Repeated,
    TimeFirst,
    ViewsOfFrames,
    Frames,
]


def example(build, n=5):
    torch.manual_seed(0)
    return build().double(), *batch(n=n, d=8)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("build", FOLDED)
def test_rows_are_counted_to_their_example(build, n):
    model, x, y = example(build, n)
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        reading = meter.read()
    assert reading.m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)
    assert reading.examples == n


@pytest.mark.parametrize("build", FOLDED)
def test_robust_means_are_over_examples(build):
    model, x, y = example(build)
    blocks = gradients_one_by_one(model, x, y)
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=30)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        expected = winsorized_mean(blocks[name], 30).view_as(p)
        torch.testing.assert_close(p.grad, expected, rtol=1e-8, atol=1e-11)


class Lengths(nn.Module):
    """Steps folded step by step, as many as there are."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(2, 6), nn.Linear(6, 3)

    def forward(self, x):
        rows = self.inner(x.transpose(0, 1).flatten(0, 1)).tanh()
        return self.head(rows).unflatten(0, (x.shape[1], -1)).mean(0)


def test_every_length_is_tried():
    model = Lengths().double()
    _, y = batch(n=5)
    with CoherenceMeter(model) as meter:
        for length in (3, 4, 3, 1, 4):
            x = torch.randn(5, length, 2, dtype=torch.float64)
            F.cross_entropy(model(x), y).backward()
            expected = m_coherence_of(gradients_one_by_one(model, x, y))
            assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


class Shuffled(Views):
    """Rows in an order of their own."""

    def forward(self, x):
        order = torch.arange(2 * len(x)).roll(1)
        rows = self.inner(torch.cat([x[:, :4], x[:, 4:]])[order]).tanh()
        left, right = rows[order.argsort()].chunk(2)
        return self.head(left * right)


def test_rows_in_no_order_are_refused_with_the_name_of_the_layer():
    model, x, y = example(Shuffled)
    with (
        CoherenceMeter(model),
        pytest.raises(ValueError, match=r"'inner', where nothing shows to which of the 5 exam"),
    ):
        F.cross_entropy(model(x), y).backward()
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=20)
    with (
        optimizer.robust(),
        pytest.raises(ValueError, match=r"its 10 rows belong.* Tried on 5 of the examples"),
    ):
        F.cross_entropy(model(x), y).backward()


class Dictionary(nn.Module):
    """Takes its inputs in a dictionary or a list."""

    def __init__(self, model, key):
        super().__init__()
        self.model, self.key = model, key

    def forward(self, inputs):
        return self.model(inputs[self.key])


@pytest.mark.parametrize("build", FOLDED)
@pytest.mark.parametrize("key", ["x", 0])
def test_tensors_in_dictionaries_and_lists_show_the_examples(build, key):
    model, x, y = example(build)
    blocks = gradients_one_by_one(model, x, y)
    model = Dictionary(model, key)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model([x] if key == 0 else {key: x}), y).backward()
        reading = meter.read()
    assert reading.m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)
    assert reading.examples == len(x)


class Held:
    """An object that hides its tensor."""

    def __init__(self, x):
        self.x = x


class Holding(Dictionary):
    def forward(self, inputs):
        return self.model(inputs.x)


def test_rows_of_an_unknown_number_of_examples_are_refused():
    model, x, y = example(Views)
    model = Holding(model, "x")
    with (
        CoherenceMeter(model),
        pytest.raises(ValueError, match="nothing shows to how many examples its"),
    ):
        F.cross_entropy(model(Held(x)), y).backward()
    plain = Holding(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)).double(), "x")
    with CoherenceMeter(plain) as meter:
        F.cross_entropy(plain(Held(x)), y).backward()
        assert meter.read().examples == len(x)


class DeadAndNamedTwice(nn.Module):
    """Views behind a dead layer, which noise must tell apart; the layer has two names."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.same = self.first
        nn.init.constant_(self.first.bias, -100.0)

    def forward(self, x):
        rows = self.inner(self.same(torch.cat([x[:, :4], x[:, 4:]])).relu())
        left, right = rows.chunk(2)
        return self.head(left * right)


def test_a_trial_with_noise_leaves_a_layer_of_two_names_as_it_was():
    model, (x, y) = DeadAndNamedTwice(), (torch.randn(10, 8), torch.arange(10) % 3)
    before = {k: (v, v.clone()) for k, v in model.state_dict(keep_vars=True).items()}
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        meter.read()
    for name, tensor in model.state_dict(keep_vars=True).items():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])


class Experts(nn.Module):
    """Sends every token to one of two experts."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x):
        tokens, found = x.flatten(0, 1), x.new_zeros(len(x) * x.shape[1], 4)
        for k, expert in enumerate(self.experts):
            rows = ((tokens[:, 0] > 0).long() == k).nonzero()[:, 0]
            if len(rows):
                found = found.index_add(0, rows, expert(tokens[rows]))
        return found.view(x.shape).sum((1, 2))


def test_as_many_rows_as_examples_are_nobodys_where_an_example_had_two():
    x = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(0))
    x[..., 0] = -1.0
    later = x.clone()
    later[:3, :, 0] = 1.0  # each expert gets six tokens, two of each of three examples
    model = Experts()
    with CoherenceMeter(model) as meter:
        for _ in range(2):
            model(x).square().mean().backward()
            assert meter.read().examples == 6
        with pytest.raises(ValueError, match="6 rows belong"):
            model(later).square().mean().backward()


class OneAndTwo(nn.Module):
    """Uses a layer with two rows an example, and with one."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        both = self.inner(x.flatten(0, 1)).view(x.shape).tanh()
        return (both.sum(1) + self.inner(x[:, 0])).sum(1)


def test_a_layer_that_is_used_with_one_and_with_two_rows_is_read():
    x = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(0))
    model = OneAndTwo()
    expected = m_coherence_of(gradients_one_by_one(model, x, x, lambda out, _: out.square().sum()))
    with CoherenceMeter(model) as meter:
        model(x).square().sum().backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-5)
