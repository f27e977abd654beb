"""Twin: what counts as a batch, in training loops of any kind. Oracle: one example at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gengap.gradients import CoherenceMeter
from tests.gradients.meter_oracle import batch, gradients_one_by_one, m_coherence_of

pytestmark = pytest.mark.global_rng


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()


@pytest.fixture
def metered():
    model, (x, y) = mlp(), batch(n=12)
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        yield model, meter, x, y, expected


def check(meter, expected, examples=12):
    reading = meter.read()
    assert reading.m_coherence == pytest.approx(expected, rel=1e-9)
    assert reading.examples == examples


def test_two_calls_of_different_lengths_in_one_backward_pass(metered):
    model, meter, x, y, expected = metered
    first, last = F.cross_entropy(model(x[:8]), y[:8]), F.cross_entropy(model(x[8:]), y[8:])
    (first * 8 / 12 + last * 4 / 12).backward()
    check(meter, expected)


def test_two_calls_of_one_length_may_hold_the_same_examples_and_are_refused(metered):
    model, meter, x, y, expected = metered
    with pytest.raises(ValueError, match=r"got two calls with 6 each that use '0.bias'"):
        F.cross_entropy(torch.cat([model(x[:6]), model(x[6:])]), y).backward()
    F.cross_entropy(model(x), y).backward()
    check(meter, expected)


@pytest.mark.parametrize("size", [4, 12])
def test_a_call_between_forward_and_backward(metered, size):
    model, meter, x, y, expected = metered
    loss = F.cross_entropy(model(x), y)
    model(x[:size])
    loss.backward()
    check(meter, expected)


@pytest.mark.parametrize("size", [6, 8])
def test_two_forward_passes_and_then_two_backward_passes(metered, size):
    model, meter, x, y, expected = metered
    halves = slice(0, size), slice(size, 12)
    losses = [F.cross_entropy(model(x[h]), y[h], reduction="sum") for h in halves]
    for loss in losses:
        loss.backward()
    check(meter, expected)


@pytest.mark.parametrize("way", ["grad", "inputs"])
def test_gradients_by_the_inputs_are_no_batch(metered, way):
    model, meter, x, y, expected = metered
    probe = x.clone().requires_grad_()
    loss = F.cross_entropy(model(probe), y)
    if way == "grad":
        torch.autograd.grad(loss, probe)
    else:
        loss.backward(inputs=[probe])
    F.cross_entropy(model(x), y).backward()
    check(meter, expected)


def test_gradients_by_some_parameters_are_theirs_alone(metered):
    model, meter, x, y, _ = metered
    F.cross_entropy(model(x), y).backward(inputs=list(model[0].parameters()))
    assert list(meter.read().per_layer) == ["0"]
    torch.autograd.grad(F.cross_entropy(model(x), y), list(model[2].parameters()))
    assert list(meter.read().per_layer) == ["2"]


def test_layers_differentiated_in_one_piece_are_asked_like_others():
    model, (x, y) = nn.Sequential(nn.Linear(5, 3), nn.PReLU(3)).double(), batch(n=12)
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        probe = x.clone().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(probe), y), probe)
        F.cross_entropy(model(x), y).backward()
        check(meter, expected)


def test_a_second_backward_pass_through_one_call_is_refused(metered):
    model, meter, x, y, _ = metered
    loss = F.cross_entropy(model(x), y)
    loss.backward(retain_graph=True)
    with pytest.raises(ValueError, match=r"must be differentiated once; got a second .* '2\.wei"):
        loss.backward()
    check(meter, m_coherence_of(gradients_one_by_one(model, x, y)))


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        return self.left(x), self.right(x)


def test_two_losses_of_parameters_of_their_own_are_one_batch():
    model, (x, y) = Heads().double(), batch(n=12)
    blocks = gradients_one_by_one(
        model, x, y, loss=lambda outputs, y: sum(F.cross_entropy(o, y) for o in outputs)
    )
    with CoherenceMeter(model) as meter:
        outputs = model(x)
        F.cross_entropy(outputs[0], y).backward(retain_graph=True)
        F.cross_entropy(outputs[1], y).backward()
        check(meter, m_coherence_of(blocks))


def test_parts_of_a_model_called_one_after_the_other_are_one_batch(metered):
    model, meter, x, y, expected = metered
    F.cross_entropy(model[2](model[1](model[0](x))), y).backward()
    check(meter, expected)
    with pytest.raises(ValueError, match=r"the same examples; got (12 and 24|24 and 12) in one"):
        F.cross_entropy(
            model[2](model[0](x.repeat(2, 1)).unflatten(0, (2, -1)).sum(0)), y
        ).backward()


class Recomputed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner, self.head = mlp(), nn.Linear(3, 3)
        self.reentrant = reentrant

    def forward(self, x):
        return self.head(checkpoint(self.inner, x, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [False, True])
def test_layers_that_are_recomputed_are_used_once(reentrant):
    model, (x, y) = Recomputed(reentrant).double(), batch(n=12)
    x.requires_grad_()
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        for _ in range(2):
            F.cross_entropy(model(x), y).backward()
            check(meter, expected)


def test_a_layer_unfrozen_or_exchanged_is_measured_from_then_on():
    model, (x, y) = mlp(), batch(n=12)
    model[0].requires_grad_(False)
    with CoherenceMeter(model) as meter:
        for layers in (["2"], ["0", "2"], ["0", "2"], ["0"]):
            F.cross_entropy(model(x), y).backward()
            reading = meter.read()
            blocks = gradients_one_by_one(model, x, y)
            assert reading.m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)
            assert sorted(reading.per_layer) == layers
            if layers == ["2"]:
                model[0].requires_grad_(True)
            elif model[0].out_features == 8:
                model[0], model[2] = nn.Linear(5, 4).double(), nn.Linear(4, 3).double()
            else:
                model[2].requires_grad_(False)


def test_exchanged_layers_are_heard_where_the_parts_of_a_model_are_called():
    model, (x, y) = mlp(), batch(n=12)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        meter.read()
        model[2] = nn.Linear(8, 3).double()
        expected = m_coherence_of(gradients_one_by_one(model, x, y))
        F.cross_entropy(model[2](model[1](model[0](x))), y).backward()
        check(meter, expected)


def test_changes_that_a_meter_cannot_follow_are_refused():
    model, (x, y) = mlp(), batch(n=12)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        model[2] = nn.Linear(8, 4).double()
        with pytest.raises(
            ValueError, match=r"shape; got '2\.weight' of shape \(4, 8\), which was"
        ):
            model(x)
        meter.close()
    model = mlp()
    model[0].requires_grad_(False)
    with CoherenceMeter(model):
        model[0].requires_grad_(True)
        with pytest.raises(ValueError, match="A Linear that is called by itself must have"):
            model[0](x)


class Mixed(nn.Module):
    """Takes tensors without examples before, or after, the batch."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, mixing, x, scale=None):
        h = self.inner(x).tanh() @ mixing
        return self.head(h if scale is None else h * scale)


@pytest.mark.parametrize("scale", [None, torch.linspace(1, 2, 4).double()])
def test_arguments_without_examples_are_not_taken_for_the_batch(scale):
    model, (x, y) = Mixed().double(), batch(n=12)
    mixing = torch.eye(4).double() + 0.5

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(mixing, x, scale=scale)

    expected = m_coherence_of(gradients_one_by_one(Alone(), x, y))
    with CoherenceMeter(model) as meter:
        for _ in range(2):
            F.cross_entropy(model(mixing, x, scale=scale), y).backward()
            check(meter, expected)


class StepsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps, self.head = nn.LSTM(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.steps(x.transpose(0, 1))[0][-1])


def test_a_first_batch_of_one_example_with_the_steps_first():
    model, x, y = StepsFirst().double(), torch.randn(4, 6, 5).double(), batch(n=4)[1]
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        for part in (slice(1), slice(1, 4)):
            F.cross_entropy(model(x[part]), y[part], reduction="sum").backward()
        check(meter, expected, examples=4)


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_backward_pass_that_breaks_off_is_not_counted(metered, read_before, kept):
    model, meter, x, y, expected = metered
    if read_before:
        F.cross_entropy(model(x), y).backward()
        check(meter, expected)
    if kept:
        F.cross_entropy(model(x[:5]), y[:5]).backward()
    broken = model[0].weight.register_hook(lambda gradient: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        F.cross_entropy(model(5 * x), y).backward()
    broken.remove()
    rest = slice(5, None) if kept else slice(None)
    F.cross_entropy(model(x[rest]), y[rest], reduction="sum").backward()
    reading = meter.read()
    assert reading.examples == 12
    if not kept:
        assert reading.m_coherence == pytest.approx(expected, rel=1e-9)
    else:
        parts = [(x[:5], y[:5], 1 / 5), (x[5:], y[5:], 1.0)]
        each = [
            {k: s * g for k, g in gradients_one_by_one(model, a, b).items()} for a, b, s in parts
        ]
        both = {name: torch.cat([part[name] for part in each]) for name in each[0]}
        assert reading.m_coherence == pytest.approx(m_coherence_of(both), rel=1e-9)
