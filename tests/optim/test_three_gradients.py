"""Twin: the three-gradient optimizers against a loop over floats that follows the papers' rules.

Also properties: `torch.optim`'s contract (groups, closures, schedules, stored states), and that
neither form of `zero_grad` nor memory in other hands disturbs the gradients kept.
"""

import copy
import statistics

import pytest
import torch
from torch import nn

from gengap.optim import (
    MeanOfThree,
    MedianOfThree,
    RollingMeanOfThree,
    RollingMedianOfThree,
    mean_of_three,
    median_of_three,
)

KINDS = (MeanOfThree, MedianOfThree, RollingMeanOfThree, RollingMedianOfThree)
ROLLING = (RollingMeanOfThree, RollingMedianOfThree)
MEDIANS = (MedianOfThree, RollingMedianOfThree)
OPTIONS = {
    "paper": {},
    "decay": {"weight_decay": 0.3},
    "decay last": {"weight_decay": 0.3, "decay_first": False},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
}
TWIN = {"dtype": torch.float64}


def by_hand(kind, start, gradients, lr=0.1, weight_decay=0.0, momentum=0.0, decay_first=True):
    """One coordinate, in Python floats; `gradients` are numbers or functions of the weight."""
    w, v, seen = start, 0.0, []
    for step, gradient in enumerate(gradients, start=1):
        g = gradient(w) if callable(gradient) else gradient
        seen.append(g + weight_decay * w if decay_first else g)
        if step < 3 or (kind not in ROLLING and step % 3):
            continue
        three = seen[-3:]
        d = statistics.median(three) if kind in MEDIANS else statistics.fmean(three)
        if not decay_first:
            d += weight_decay * w
        v = momentum * v + d
        w -= lr * v
    return w


def draws(steps, size, seed=0):
    return torch.randn(steps, size, generator=torch.Generator().manual_seed(seed), **TWIN)


@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_by_hand(kind, options, foreach):
    g, start = draws(11, 6), draws(1, 6, seed=1)[0]
    w = nn.Parameter(start.clone())
    optimizer = kind([w], lr=0.1, foreach=foreach, **OPTIONS[options])
    for row in g:
        w.grad = row.clone()
        optimizer.step()
    expected = [
        by_hand(kind, start[j].item(), g[:, j].tolist(), **OPTIONS[options]) for j in range(6)
    ]
    torch.testing.assert_close(w.detach(), torch.tensor(expected, **TWIN), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_loop_with_a_schedule_and_groups(kind, set_to_none):
    """Quadratics a (w - b)^2 / 2 with other a, b in every step; two groups."""
    a, b = draws(10, 2).exp(), draws(10, 2, seed=2)
    first, second = (nn.Parameter(torch.ones(1, **TWIN)) for _ in range(2))
    optimizer = kind([{"params": [first]}, {"params": [second], "lr": 0.02}], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=100)
    losses = []
    for (a1, a2), (b1, b2) in zip(a, b, strict=True):

        def closure(a1=a1, a2=a2, b1=b1, b2=b2):
            optimizer.zero_grad(set_to_none=set_to_none)
            loss = (a1 * (first - b1) ** 2 + a2 * (second - b2) ** 2).sum() / 2
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
        schedule.step()
    assert losses[0] == pytest.approx(float((a[0] * (1 - b[0]) ** 2).sum() / 2))
    for j, (w, lr) in enumerate([(first, 0.1), (second, 0.02)]):
        rules = [
            lambda x, p=p, q=q: p * (x - q)
            for p, q in zip(a[:, j].tolist(), b[:, j].tolist(), strict=True)
        ]
        assert w.item() == pytest.approx(by_hand(kind, 1.0, rules, lr=lr), rel=1e-12)


def test_a_schedule_scales_the_steps():
    w = nn.Parameter(torch.zeros(1, **TWIN))
    optimizer = RollingMedianOfThree([w], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5**t)
    for g in (1.0, 2.0, 3.0, 4.0):
        w.grad = torch.full_like(w, g)
        optimizer.step()
        schedule.step()
    assert w.item() == -(2.0 * 0.25 + 3.0 * 0.125)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_optimizer_goes_on_as_the_one_that_was_not(kind):
    g = draws(12, 40)
    for cut in range(1, 8):
        whole = nn.Parameter(torch.zeros(40, **TWIN))
        first = kind([whole], lr=0.1, momentum=0.5, weight_decay=0.1)
        for row in g[:cut]:
            whole.grad = row.clone()
            first.step()
        part = nn.Parameter(whole.detach().clone())
        second = kind([part], lr=9.0)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        for row in g[cut:]:
            for w, optimizer in ((whole, first), (part, second)):
                w.grad = row.clone()
                optimizer.step()
        assert torch.equal(whole, part)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_left_is_the_direction_taken(kind):
    w = nn.Parameter(torch.zeros(3, **TWIN))
    optimizer = kind([w], lr=0.1)
    taken = []
    for row in draws(9, 3):
        before = w.detach().clone()
        w.grad = row.clone()
        optimizer.step()
        taken.append(w.grad is not None)
        if w.grad is None:
            assert torch.equal(w, before)
        else:
            torch.testing.assert_close(w.detach(), before - 0.1 * w.grad)
    assert taken == [t >= 3 if kind in ROLLING else t % 3 == 0 for t in range(1, 10)]


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_becomes_of_the_memory_of_a_gradient_disturbs_nothing(kind, foreach):
    """A view of a bucket, overwritten after every step, and one number in all places."""
    g, start = draws(8, 6), draws(1, 6, seed=1)[0]
    plain, viewed, spread = (nn.Parameter(start.clone()) for _ in range(3))
    bucket = torch.empty(10, **TWIN)
    optimizer = kind([plain, viewed, spread], lr=0.1, foreach=foreach)
    for row in g:
        plain.grad = row.clone()
        viewed.grad = bucket[4:].copy_(row)
        spread.grad = row[:1].clone().expand(6)
        optimizer.step()
        bucket.fill_(torch.nan)
    assert torch.equal(viewed, plain)
    moves = (spread - start).detach()
    torch.testing.assert_close(moves, moves[:1].expand(6))
    assert moves[0].item() == pytest.approx((plain - start)[0].item(), rel=1e-12)


def test_a_parameter_without_a_gradient_counts_no_step():
    w, v = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = MedianOfThree([w, v], lr=1.0)
    for t in range(4):
        w.grad = torch.ones(1)
        v.grad = None if t == 1 else torch.ones(1)
        optimizer.step()
    assert (w.item(), v.item()) == (-1.0, -1.0)
    assert (optimizer.state[w]["step"], optimizer.state[v]["step"]) == (4, 3)


@pytest.mark.parametrize("layout", ["plain", "channels_last", "transposed", "mixed"])
def test_large_tensors_in_any_layout(layout):
    a, b, c = (t.view(8, 90, 20, 20) for t in draws(3, 288_000))
    if layout == "channels_last":
        a, b, c = (t.contiguous(memory_format=torch.channels_last) for t in (a, b, c))
    if layout == "transposed":
        a, b, c = (t.transpose(0, 3) for t in (a, b, c))
    if layout == "mixed":
        c = c.contiguous(memory_format=torch.channels_last)
    stack = torch.stack([a, b, c])
    assert torch.equal(median_of_three(a, b, c), stack.sort(0).values[1])
    torch.testing.assert_close(mean_of_three(a, b, c), stack.mean(0))
    expected = stack.sort(0).values[1]
    for k in range(3):
        three = [a.clone(), b.clone(), c.clone()]
        assert torch.equal(median_of_three(*three, out=three[k]), expected)
        assert torch.equal(three[k], expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_and_two_give_the_same_bits(threads):
    a, b, c = draws(3, 300_001)
    w = nn.Parameter(torch.zeros(300_001, **TWIN))
    optimizers = [kind([w], lr=0.0) for kind in (RollingMedianOfThree, RollingMeanOfThree)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    directions = []
    try:
        found = median_of_three(a, b, c), mean_of_three(a, b, c)
        for optimizer in optimizers:
            for g in (c, b, a):
                w.grad = g.clone()
                optimizer.step()
            directions.append(w.grad)
    finally:
        torch.set_num_threads(before)
    expected = torch.stack([a, b, c]).sort(0).values[1], (a + b + c) / 3
    for mine, direction, right in zip(found, directions, expected, strict=True):
        assert torch.equal(mine, right)
        assert torch.equal(direction, right)


def test_the_median_of_three_is_one_of_them_where_the_sum_less_the_extremes_is_not():
    three = [torch.tensor([v]) for v in (1e8, 1.0, -1e8)]
    assert median_of_three(*three).item() == 1.0
    spread = sum(three) - torch.stack(three).amin(0) - torch.stack(three).amax(0)
    assert spread.item() != 1.0


def test_the_batch_in_three_groups_as_the_docstring_says():
    x, y = draws(30, 4), draws(30, 1, seed=3)[:, 0]
    w = nn.Parameter(torch.zeros(4, **TWIN))
    optimizer = MedianOfThree([w], lr=0.1)
    groups = torch.randperm(30, generator=torch.Generator().manual_seed(0)).chunk(3)
    for group in groups:
        optimizer.zero_grad()
        (0.5 * (x[group] @ w - y[group]) ** 2).mean().backward()
        optimizer.step()
    means = torch.stack([-(x[g] * y[g, None]).mean(0) for g in groups])
    torch.testing.assert_close(w.detach(), -0.1 * means.median(0).values)


def test_sparse_gradients_and_wrong_numbers_are_refused():
    table = nn.Embedding(3, 2, sparse=True, _weight=torch.zeros(3, 2))
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="must have dense gradients"):
        MedianOfThree(table.parameters()).step()
    with pytest.raises(ValueError, match="`params` must be real"):
        MedianOfThree([nn.Parameter(torch.zeros(1, dtype=torch.complex64))])
    w = [nn.Parameter(torch.zeros(1))]
    for name in ("lr", "momentum", "weight_decay"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 0"):
            MedianOfThree(w, **{name: -1.0})


@pytest.mark.parametrize("name", ["lr", "weight_decay", "momentum"])
def test_numbers_of_a_group_are_checked_like_the_defaults(name):
    p, q = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        RollingMedianOfThree([{"params": [p], name: -0.1}], lr=0.1)
    optimizer = RollingMedianOfThree([p], lr=0.1)
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        optimizer.add_param_group({"params": [q], name: -0.1})
    assert len(optimizer.param_groups) == 1


@pytest.fixture(params=[1, 2])
def threads(request):
    """One thread, with which NumPy computes, and two, with which PyTorch does."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_the_median_may_be_written_over_any_view_of_the_three(threads):
    rows = draws(3, 1000)
    for at in range(3):
        three = list(rows.clone())
        median_of_three(*three, out=three[at].view(10, 100).view(-1))
        assert torch.equal(three[at], rows.median(0).values)


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_autograd_sees_that_a_gradient_was_written_to(threads):
    """A graph through the gradient, from which it would compute with the direction instead."""
    a, w = torch.full((3,), 2.0, requires_grad=True), nn.Parameter(torch.zeros(3))
    optimizer = RollingMedianOfThree([w], lr=1.0)
    for g in (10.0, 11.0):
        w.grad = torch.full((3,), g)
        optimizer.step()
    (w * a).sum().backward(create_graph=True)
    penalty = w.grad.pow(2).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(penalty, a)
    y = torch.zeros(3, requires_grad=True).exp()
    mean_of_three(torch.zeros(3), torch.zeros(3), torch.zeros(3), out=y.detach())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


class Named(torch.Tensor):
    """A subclass, which NumPy does not take."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.numpy:
            raise RuntimeError(".numpy() is not supported for tensor subclasses.")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_gradients_that_numpy_does_not_take(threads):
    imaginary = [torch.full((4,), complex(0, -k)).conj() for k in (1, 3, 2)]
    for kept in (imaginary, [Named([k] * 4) for k in (1.0, 3.0, 2.0)]):
        w = nn.Parameter(torch.zeros(4))
        optimizer = RollingMedianOfThree([w], lr=1.0)
        for g in kept:
            w.grad = g.imag if g.is_complex() else g
            optimizer.step()
        assert w.tolist() == [-2.0] * 4


def test_a_mean_that_overflows_is_infinite_without_a_warning(threads):
    w = nn.Parameter(torch.zeros(2))
    optimizer = RollingMeanOfThree([w], lr=1.0)
    for _ in range(3):
        w.grad = torch.full((2,), 2e38)
        optimizer.step()
    assert w.tolist() == [-torch.inf] * 2
    three = torch.tensor([torch.inf]), torch.tensor([-torch.inf]), torch.tensor([0.0])
    assert mean_of_three(*three).isnan().all()


@pytest.mark.parametrize("combined", [median_of_three, mean_of_three])
def test_three_tensors_of_other_shapes_are_refused(combined, threads):
    with pytest.raises(ValueError, match=r"one shape; got \(5,\), \(1,\), \(5,\)"):
        combined(torch.zeros(5), torch.zeros(1), torch.zeros(5))
    with pytest.raises(ValueError, match=r"one shape; got .*, \(2, 3\)"):
        combined(*torch.zeros(3, 6), out=torch.zeros(2, 3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 3), (12,), (3, 5)])
def test_a_state_of_other_shapes_is_refused_and_nothing_is_lost(kind, shape):
    g = draws(6, 12)
    whole = nn.Parameter(torch.zeros(3, 4, **TWIN))
    other, twin = nn.Parameter(torch.zeros(shape, **TWIN)), nn.Parameter(torch.zeros(shape, **TWIN))
    first, second, third = kind([whole]), kind([other], lr=0.5), kind([twin], lr=0.5)
    first_twin = draws(3, other.numel())
    for row, own in zip(g[:3], first_twin, strict=True):
        whole.grad = row.view(3, 4).clone()
        first.step()
        for w, optimizer in ((other, second), (twin, third)):
            w.grad = own.view(shape).clone()
            optimizer.step()
    with pytest.raises(
        ValueError, match=r"must be of parameters of the same shapes; got .*\(3, 4\)"
    ):
        second.load_state_dict(first.state_dict())
    for own in draws(3, other.numel()):
        for w, optimizer in ((other, second), (twin, third)):
            w.grad = own.view(shape).clone()
            optimizer.step()
    assert torch.equal(other, twin)
