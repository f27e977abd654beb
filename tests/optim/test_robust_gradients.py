"""Property: no plain gradient gets into a robust step. Oracle: robust means by definition."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gengap.gradients import CoherenceMeter
from gengap.optim import WinsorizedSGD, winsorized_mean
from gengap.optim._robust_gradients import RobustGradients, stamp
from tests.gradients.meter_oracle import batch, gradients_one_by_one

pytestmark = pytest.mark.global_rng("torch")
PERCENT = 20


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def made(model, **options):
    return WinsorizedSGD(model.parameters(), model=model, percent=PERCENT, **options)


def expected(model, x, y):
    rows = gradients_one_by_one(model, x, y)
    return {name: winsorized_mean(g, PERCENT) for name, g in rows.items()}


def agree(model, sums):
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, sums[name].view_as(p), rtol=1e-9, atol=1e-12)


class Borrowed(nn.Module):
    """Multiplies by a layer's weight behind its back."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.inner(x) @ self.inner.weight)


def test_a_parameter_used_outside_its_layer():
    model, (x, y) = Borrowed().double(), batch(n=12)
    optimizer = made(model)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    with pytest.raises(RuntimeError, match=r"got a plain one in that of 'inner\.weight'"):
        optimizer.step()


def test_a_penalty_on_the_weights_in_a_later_step():
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model, lr=0.1)
    for penalized in (False, False, True):
        optimizer.zero_grad()
        with optimizer.robust():
            loss = F.cross_entropy(model(x), y)
            if penalized:
                loss = loss + model[2].weight.square().sum()
            loss.backward()
        if not penalized:
            optimizer.step()
    with pytest.raises(RuntimeError, match=r"got a plain one in that of '2\.weight'"):
        optimizer.step()


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("of_model", [True, False])
def test_a_plain_backward_pass_after_a_robust_one(set_to_none, of_model):
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    (model if of_model else optimizer).zero_grad(set_to_none=set_to_none)
    F.cross_entropy(model(x), y).backward()
    with pytest.raises(RuntimeError, match="got a plain one"):
        optimizer.step()


def plain_pass(model, x, y):
    F.cross_entropy(model(x), y).backward()


def robust_pass(optimizer, x, y):
    with optimizer.robust():
        F.cross_entropy(optimizer.model(x), y).backward()


def test_a_plain_gradient_that_was_there_before_the_optimizer():
    model, (x, y) = network(), batch(n=12)
    plain_pass(model, x, y)
    optimizer = made(model)
    robust_pass(optimizer, x, y)
    with pytest.raises(RuntimeError, match="got a plain one"):
        optimizer.step()


def test_zeros_that_were_there_before_the_optimizer():
    model, (x, y) = network(), batch(n=12)
    plain_pass(model, x, y)
    model.zero_grad(set_to_none=False)
    optimizer = made(model)
    robust_pass(optimizer, x, y)
    agree(model, expected(model, x, y))
    optimizer.step()


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_plain_gradient_that_is_gone_is_forgotten(set_to_none):
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    plain_pass(model, x, y)
    optimizer.zero_grad(set_to_none=set_to_none)
    robust_pass(optimizer, x, y)
    agree(model, expected(model, x, y))
    optimizer.step()


def test_a_plain_gradient_that_the_model_let_go_is_forgotten():
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    plain_pass(model, x, y)
    model.zero_grad()
    robust_pass(optimizer, x, y)
    optimizer.step()


def test_parameters_that_were_frozen_are_followed_once_they_are_not():
    model, (x, y) = network(), batch(n=12)
    model[0].requires_grad_(False)
    optimizer = made(model)
    robust_pass(optimizer, x, y)
    optimizer.step()
    model[0].requires_grad_(True)
    optimizer.zero_grad()
    robust_pass(optimizer, x, y)
    optimizer.step()
    plain_pass(model, x, y)
    with pytest.raises(RuntimeError, match=r"got a plain one in that of '0\.weight'"):
        optimizer.step()


def test_a_robust_sum_is_known_once_and_untouched():
    """Its memory may be the next gradient's, and autograd may add to it in place."""
    gradients, sums = RobustGradients(), torch.ones(3)
    gradients.given["w"] = stamp(sums)
    assert gradients.is_given("w", sums)
    gradients.arrive("w", sums)
    assert not gradients.is_given("w", sums)
    gradients.given["w"] = stamp(sums)
    sums += 1
    assert not gradients.is_given("w", sums)


@pytest.mark.parametrize("robust_first", [True, False])
def test_one_of_two_micro_batches_outside(robust_first):
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    for robust in (robust_first, not robust_first):
        if robust:
            with optimizer.robust():
                F.cross_entropy(model(x), y).backward()
        else:
            F.cross_entropy(model(x), y).backward()
    with pytest.raises(RuntimeError, match="got a plain one"):
        optimizer.step()
    optimizer.zero_grad()
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    agree(model, expected(model, x, y))
    optimizer.step()


def test_micro_batches_clipped_and_looked_at_between():
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    sums = [expected(model, x[h], y[h]) for h in (slice(6), slice(6, 12))]
    with optimizer.robust():
        for half in (slice(6), slice(6, 12)):
            loss = F.cross_entropy(model(x[half]), y[half])
            model(x[:4])
            probe = x.clone().requires_grad_()
            torch.autograd.grad(F.cross_entropy(model(probe), y), probe)
            loss.backward()
    torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
    agree(model, {name: sums[0][name] + sums[1][name] for name in sums[0]})
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.step()


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x, left):
        return (self.left if left else self.right)(x)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_branch_without_use_in_a_step(set_to_none):
    model, (x, y) = Branches().double(), batch(n=12)
    optimizer = made(model)
    for step in range(4):
        optimizer.zero_grad(set_to_none=set_to_none)
        with optimizer.robust():
            F.cross_entropy(model(x, step % 2), y).backward()
        optimizer.step()


def stored(optimizer):
    file = io.BytesIO()
    torch.save(optimizer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("again", [copy.deepcopy, stored])
def test_a_copy_is_an_optimizer_of_its_own_model(again):
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model, momentum=0.5)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    optimizer.step()
    twin = again(optimizer)
    for one in (optimizer, twin):
        one.zero_grad()
        with one.robust():
            F.cross_entropy(one.model(x), y).backward()
        one.step()
    assert twin.model is not model
    for p, q in zip(model.parameters(), twin.model.parameters(), strict=True):
        assert torch.equal(p, q) and p is not q
    F.cross_entropy(twin.model(x), y).backward()
    with pytest.raises(RuntimeError, match="got a plain one"):
        twin.step()


class Recomputed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner, self.head = network(), nn.Linear(3, 3)
        self.reentrant = reentrant

    def forward(self, x):
        return self.head(checkpoint(self.inner, x, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_that_are_recomputed_are_used_once(reentrant):
    model, (x, y) = Recomputed(reentrant).double(), batch(n=12)
    x.requires_grad_()
    optimizer = made(model)
    for _ in range(2):
        sums = expected(model, x, y)
        optimizer.zero_grad()
        with optimizer.robust():
            F.cross_entropy(model(x), y).backward()
        agree(model, sums)
        optimizer.step()


def test_groups_that_come_later_are_checked_like_the_first():
    model = network()
    optimizer = WinsorizedSGD(model[0].parameters(), model=model, percent=20)
    for group, words in (
        ({"params": network().parameters()}, "`params` must be parameters of `model`"),
        ({"params": model[2].parameters(), "percent": 60}, "`percent` must lie in"),
        ({"params": model[2].parameters(), "lr": -1.0}, "`lr` must be"),
    ):
        with pytest.raises(ValueError, match=words):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": model[2].parameters(), "percent": 40})
    x, y = batch(n=12)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    optimizer.step()


def test_a_meter_and_a_robust_optimizer_exclude_each_other():
    model = network()
    optimizer = made(model)
    words = "must have one meter or robust optimizer at a time"
    with CoherenceMeter(model):
        with pytest.raises(ValueError, match=words):
            CoherenceMeter(model)
        with pytest.raises(ValueError, match=words), optimizer.robust():
            pass
    with optimizer.robust(), pytest.raises(ValueError, match=words):
        CoherenceMeter(model)
    assert all("forward" not in vars(module) for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_parameters_of_layers_that_come_later_are_left_to_their_sums():
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    model.append(nn.Linear(3, 3).double())
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    rows = gradients_one_by_one(model, x, y)
    expected = rows["3.weight"].mean(0).view(3, 3)
    torch.testing.assert_close(model[3].weight.grad, expected, rtol=1e-9, atol=1e-12)
    optimizer.step()


def test_a_closure_with_a_robust_block_of_its_own():
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model, lr=0.1)
    sums, before = expected(model, x, y), {k: p.clone() for k, p in model.named_parameters()}

    def closure():
        optimizer.zero_grad()
        with optimizer.robust():
            F.cross_entropy(model(x), y).backward()

    optimizer.step(closure)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, before[name] - 0.1 * sums[name].view_as(p))
    with CoherenceMeter(model):
        pass


def test_a_robust_gradient_that_is_exchanged_for_a_plain_one():
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for p in model.parameters():
        p.grad = torch.autograd.grad(F.cross_entropy(model(x), y), p)[0]
    with pytest.raises(RuntimeError, match=r"change `\.grad` in place"):
        optimizer.step()


def test_a_plain_gradient_that_the_model_sets_to_zero():
    model, (x, y) = network(), batch(n=12)
    optimizer = made(model)
    F.cross_entropy(model(x), y).backward()
    model.zero_grad(set_to_none=False)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    agree(model, expected(model, x, y))
    optimizer.step()
