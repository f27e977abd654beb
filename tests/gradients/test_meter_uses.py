"""Twin: layers that are used several times, on other axes, unfrozen, copied or interrupted.

Oracle: gradients one by one; the coordinate-wise median over them; plain PyTorch.
"""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gengap import Risk
from gengap.data import Split
from gengap.gradients import CoherenceMeter, gradient_statistics
from gengap.gradients._part import SequencePart
from gengap.optim import TrimmedMeanSGD
from tests.gradients.meter_oracle import gradients_one_by_one, m_coherence_of

pytestmark = pytest.mark.global_rng("torch")


def loss(outputs, _):
    return outputs.square().sum()


def truth_of(model, x):
    return m_coherence_of(gradients_one_by_one(model, x, x, loss))


def reading(model, x):
    with CoherenceMeter(model) as meter:
        loss(model(x), None).backward()
        return meter.read().m_coherence


class Functional(nn.Module):
    """Gives parameters of its own to functions."""

    def __init__(self):
        super().__init__()
        self.gain, self.weight = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6, 6) / 3)

    def forward(self, x):
        return torch.tanh(F.linear(x, self.weight) * self.gain)


class Whole(nn.Module):
    """Is differentiated in one piece."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(6))

    def forward(self, x):
        return torch.tanh(x @ torch.diag(self.gain))


USES = {
    "once": lambda b, h, again: again(lambda z: torch.tanh(b(z)), h),
    "twice within": lambda b, h, again: again(lambda z: b(torch.tanh(b(z))), h),
    "in two": lambda b, h, again: again(b, again(b, h)),
    "within, then without": lambda b, h, again: b(again(b, h)),
    "without, then within": lambda b, h, again: again(b, b(h)),
}
ACROSS = ("in two", "within, then without", "without, then within")


class Recomputed(nn.Module):
    def __init__(self, kind, use, reentrant):
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(6, 6), kind(), nn.Linear(6, 3)
        self.use, self.again = use, partial(checkpoint, use_reentrant=reentrant)

    def forward(self, x):
        return self.last(self.use(self.layer, self.first(x), self.again))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", [partial(nn.Linear, 6, 6), Functional, Whole])
@pytest.mark.parametrize("use", USES)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_layer_shared_with_a_checkpoint(use, kind, reentrant):
    torch.manual_seed(0)
    model, x = Recomputed(kind, USES[use], reentrant).double(), torch.randn(5, 6).double()
    if reentrant and use in ACROSS:
        with pytest.raises(ValueError, match="or a reentrant checkpoint, that reaches 'layer"):
            reading(model, x)
    else:
        assert reading(model, x) == pytest.approx(truth_of(model, x), rel=1e-9)
    model.zero_grad()
    optimizer = TrimmedMeanSGD(model.parameters(), percent=50, model=model)
    if use != "once":
        with pytest.raises(ValueError, match="two uses of 'layer"), optimizer.robust():
            loss(model(x), None).backward()
        return
    with optimizer.robust():
        loss(model(x), None).backward()
    for name, rows in gradients_one_by_one(model, x, x, loss).items():
        median = 5 * rows.median(0).values
        torch.testing.assert_close(model.get_parameter(name).grad.flatten(), median)


def test_a_layer_that_a_teacher_without_a_graph_uses_too():
    class Student(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(6, 6)

        def forward(self, x):
            with torch.no_grad():
                target = self.line(x)
            return self.line(x + target)

    torch.manual_seed(0)
    model, x = Student().double(), torch.randn(5, 6).double()
    assert reading(model, x) == pytest.approx(truth_of(model, x), rel=1e-9)


class TwoAxes(nn.Module):
    """Uses one of its parameters with the batch first, another with the sequence first."""

    def __init__(self):
        super().__init__()
        self.places, self.line = nn.Parameter(torch.randn(1, 9, 6)), nn.Linear(6, 6)
        self.gain = nn.Parameter(torch.randn(6))

    def forward(self, x):
        h = (self.line(x) + self.places[:, : x.shape[1]]).transpose(0, 1)
        return torch.tanh(h * self.gain).transpose(0, 1).mean(1)


class SharedOnTwoAxes(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 6)

    def forward(self, x):
        return torch.tanh(self.line(self.line(x).transpose(0, 1))).mean(0)


@pytest.mark.parametrize("model", [TwoAxes, SharedOnTwoAxes])
@pytest.mark.parametrize("length", [2, 5])
def test_a_module_with_the_examples_on_two_axes_is_refused_whatever_their_number(model, length):
    torch.manual_seed(0)
    model, x = model().double(), torch.randn(length, length, 6).double()
    with pytest.raises(ValueError, match="nothing shows to which"):
        reading(model, x)


class Encoder(nn.Module):
    """Uses a parameter in a way that has no rule."""

    def __init__(self):
        super().__init__()
        self.line, self.queries = nn.Linear(6, 6), nn.Parameter(torch.randn(3, 6))

    def forward(self, x):
        found = torch.nn.functional.conv1d(self.line(x).mT, self.queries.unsqueeze(-1))
        return torch.softmax(found, -1) @ x


@pytest.mark.parametrize("read", [True, False])
def test_what_is_unfrozen_later_is_checked_too(read):
    torch.manual_seed(0)
    model, x = nn.Sequential(Encoder(), nn.Linear(6, 3)).double(), torch.randn(5, 4, 6).double()
    model[0].requires_grad_(False)
    with CoherenceMeter(model) as meter:
        loss(model(x), None).backward()
        meter.read()
        loss(model(x), None).backward()
        if read:
            meter.read()
        model[0].requires_grad_(True)
        loss(model(x), None).backward()
        with pytest.raises(ValueError, match=r"must use its parameter '0\.queries'"):
            meter.read()


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.gain, self.shift = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return self.last(torch.tanh(self.first(x) * self.gain + self.shift))


def test_a_parameter_of_the_models_own_counts_from_the_batch_it_is_unfrozen_in():
    torch.manual_seed(0)
    model, x = Own().double(), torch.randn(5, 6).double()
    model.shift.requires_grad_(False)
    with CoherenceMeter(model) as meter:
        for step in range(3):
            model.shift.requires_grad_(step > 0)
            loss(model(x), None).backward()
            assert meter.read().m_coherence == pytest.approx(truth_of(model, x), rel=1e-9)


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.table, self.last = nn.Linear(6, 6), nn.Embedding(9, 6), nn.Linear(6, 3)

    def forward(self, x):
        places = self.table(torch.arange(x.shape[1]))
        return self.last(torch.tanh(self.first(x) + places)).mean(1)


def test_a_copy_of_a_metered_model_is_the_plain_model():
    torch.manual_seed(0)
    model, x = Positions(), torch.randn(5, 4, 6)
    others = torch.randn(7, 4, 6)
    expected = model(others)
    with CoherenceMeter(model) as meter:
        loss(model(x), None).backward()
        meter.read()
        twin = copy.deepcopy(model)
        torch.testing.assert_close(twin(others), expected)
        risk = Risk(model, Split(inputs=others, targets=torch.zeros(7, 3)), loss="squared_error")
        assert len(gradient_statistics(risk).squared_norms) == 7
    torch.testing.assert_close(twin(others[:1]), expected[:1])


@pytest.mark.parametrize("sizes", [(5, 5, 5), (5, 3, 4)])
def test_a_batch_after_one_that_was_interrupted(sizes):
    class Stops(nn.Module):
        now = False

        def forward(self, x):
            if self.now:
                raise KeyboardInterrupt
            return x

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Stops(), nn.Linear(6, 3)).double()
    with CoherenceMeter(model) as meter:
        for step, size in enumerate(sizes):
            x, model[1].now = torch.randn(size, 6).double(), step == 1
            if model[1].now:
                with pytest.raises(KeyboardInterrupt):
                    model(x)
            model[1].now = False
            loss(model(x), None).backward()
            found = meter.read()
            assert found.examples == size
            assert found.m_coherence == pytest.approx(truth_of(model, x), rel=1e-9)


class Causal(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.attend, self.last = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)
        self.given = given

    def forward(self, x, mask=None):
        if mask is None:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.last(self.attend(x, x, x, attn_mask=mask)[0])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("sizes", [(4, 5), (5, 4), (4, 4)])
def test_sequences_as_long_as_the_batch_with_a_mask(given, sizes):
    torch.manual_seed(0)
    model, mask = Causal(given).double(), torch.ones(4, 4, dtype=torch.bool).triu(1)
    with CoherenceMeter(model) as meter:
        for size in sizes:
            x = torch.randn(size, 4, 6).double()
            loss(model(x, mask) if given else model(x), None).backward()
            assert meter.read().m_coherence == pytest.approx(truth_of(model, x), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(8, 3, 64, 48), (8, 40, 4, 4)])
def test_squared_norms_of_sequences_in_half_precision(dtype, sizes):
    """Output gradients of 3e-5, as of a mean loss: their products are below float16's least."""
    n, t, d, o = sizes
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, t, d, generator=draw).to(dtype)
    deltas = (3e-5 * torch.randn(n, t, o, generator=draw)).to(dtype)
    exact = (deltas.double().mT @ inputs.double()).square().sum((1, 2))
    found = SequencePart(inputs, deltas).squared_norms()
    rounding = 1e-5 if dtype == torch.float16 or SequencePart(inputs, deltas).by_gram else 1e-2
    torch.testing.assert_close(found, exact, rtol=rounding, atol=0)
