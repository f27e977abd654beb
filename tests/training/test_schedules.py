"""Twin: schedules against `torch.optim.lr_scheduler`; closed forms at chosen steps."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch.optim import lr_scheduler

from gengap.training import Constant, Cosine, Exponential, Recipe, Step, fit
from tests.training.cases import make_split, perceptron

STEPS, EPOCHS = 7, 6


def by_epoch(make):
    """Factors at every step of a torch scheduler that is stepped once an epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    scheduler, factors = make(optimizer), []
    for _ in range(EPOCHS):
        factors += [optimizer.param_groups[0]["lr"]] * STEPS
        optimizer.step()
        scheduler.step()
    return factors


def ours(schedule):
    return [
        schedule(t, steps_per_epoch=STEPS, total_steps=STEPS * EPOCHS)
        for t in range(STEPS * EPOCHS)
    ]


def test_exponential_is_that_of_torch():
    expected = by_epoch(lambda o: lr_scheduler.ExponentialLR(o, 0.95))
    assert ours(Exponential()) == pytest.approx(expected, rel=1e-12)


def test_step_is_multi_step_of_torch():
    expected = by_epoch(lambda o: lr_scheduler.MultiStepLR(o, [2, 5], gamma=0.3))
    assert ours(Step(milestones=(2, 5), rate=0.3)) == pytest.approx(expected, rel=1e-12)


def test_cosine_is_that_of_torch_by_steps():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, STEPS * EPOCHS)
    expected = []
    for _ in range(STEPS * EPOCHS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert ours(Cosine()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_constant_is_one():
    assert set(ours(Constant())) == {1.0}


@given(step=st.integers(0, 10**6), every=st.integers(1, 10**4))
def test_exponential_in_steps_ignores_the_epoch(step, every):
    factor = Exponential(rate=0.5, every=every)(step, steps_per_epoch=3, total_steps=9)
    assert factor == pytest.approx(0.5 ** math.floor(step / every))


def test_history_shows_the_rate_of_the_next_step_with_warm_up():
    recipe = Recipe(epochs=3, batch_size=10, lr=0.2, schedule=Exponential(rate=0.5), warmup_steps=8)
    run = fit(perceptron, make_split(n=40), recipe=recipe)
    steps = [0, 4, 8, 12]
    expected = [0.2 * 0.5 ** (t // 4) * min(1, (t + 1) / 8) for t in steps]
    assert list(run.history["lr"]) == pytest.approx(expected, rel=1e-12)
    assert list(run.history["step"]) == steps
