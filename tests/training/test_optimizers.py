"""Twin: stacks of lanes against `torch.optim` on one lane at a time, same gradients, 50 steps."""

from itertools import product

import pytest
import torch

from gengap.training import Lane, Recipe
from gengap.training._optimizers import make_optimizer
from tests.reference.plain_training import optimizer_of
from tests.training.cases import make_split

SHAPES = [(4, 3), (4,), ()]
OWN = {
    "alike": [{}, {}, {}],
    "own lr": [{"lr": 0.3}, {}, {"lr": 0.01}],
    "own momentum": [{"momentum": 0.0}, {"momentum": 0.5}, {}],
    "own weight decay": [{"weight_decay": 0.0}, {}, {"weight_decay": 0.2}],
    "own all": [
        {"lr": 0.2, "momentum": 0.3, "weight_decay": 0.1},
        {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.0},
        {},
    ],
}
RECIPES = {
    "sgd": Recipe(momentum=0.0),
    "momentum": Recipe(momentum=0.9, lr=0.05),
    "weight decay": Recipe(momentum=0.9, lr=0.05, weight_decay=0.01),
    "nesterov": Recipe(momentum=0.9, lr=0.05, nesterov=True, weight_decay=0.01),
    "adam": Recipe(optimizer="adam", lr=0.01),
    "adam, weight decay": Recipe(optimizer="adam", lr=0.01, weight_decay=0.1, beta2=0.95, eps=1e-3),
    "adamw": Recipe(optimizer="adamw", lr=0.01, weight_decay=0.1),
    "rmsprop": Recipe(optimizer="rmsprop", lr=0.01, beta2=0.99, weight_decay=0.01),
    "rmsprop, momentum": Recipe(optimizer="rmsprop", lr=0.01, momentum=0.9, eps=1e-3),
    "m3": Recipe(optimizer="median_of_three", lr=0.05, weight_decay=0.01),
    "rm3": Recipe(optimizer="rolling_median_of_three", lr=0.05, weight_decay=0.01),
    "m3, decay last": Recipe(
        optimizer="median_of_three", lr=0.05, weight_decay=0.5, decay_first=False
    ),
    "rm3, decay last": Recipe(
        optimizer="rolling_median_of_three",
        lr=0.05,
        weight_decay=0.5,
        momentum=0.5,
        decay_first=False,
    ),
    "ra3": Recipe(optimizer="rolling_mean_of_three", lr=0.05, momentum=0.5),
}


class Bag(torch.nn.Module):
    """Parameters without a network."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.nn.ParameterList([torch.nn.Parameter(v.clone()) for v in values])


def gradients(steps, lanes):
    draw = torch.Generator().manual_seed(1)
    return [
        [torch.randn(lanes, *s, generator=draw, dtype=torch.float64) for s in SHAPES]
        for _ in range(steps)
    ]


@pytest.mark.parametrize(("name", "own"), list(product(RECIPES, OWN)))
def test_every_lane_takes_the_steps_of_torch_optim(name, own):
    recipe, factors = RECIPES[name], [0.97**t for t in range(50)]
    if recipe.nesterov and any(o.get("momentum") == 0 for o in OWN[own]):
        pytest.skip("torch.optim refuses Nesterov without momentum")
    lanes = [Lane(split=make_split(), **o) for o in OWN[own]]
    start, grads = gradients(1, 3)[0], gradients(50, 3)
    stack = [p.clone() for p in start]
    optimizer = make_optimizer(stack, lanes, recipe)
    for g, factor in zip(grads, factors, strict=True):
        optimizer.step([t.clone() for t in g], factor)
    for i, o in enumerate(OWN[own]):
        bag = Bag([p[i] for p in start])
        twin = optimizer_of(bag, recipe, **o)
        lr = twin.param_groups[0]["lr"]
        for g, factor in zip(grads, factors, strict=True):
            twin.param_groups[0]["lr"] = lr * factor
            for p, t in zip(bag.values, g, strict=True):
                p.grad = t[i].clone()
            twin.step()
        for p, q in zip(stack, bag.values, strict=True):
            # Own hyper-parameters are float32 tensors.
            torch.testing.assert_close(p[i], q.detach(), rtol=1e-6, atol=1e-7)


def test_alike_lanes_agree_with_torch_optim_in_float64():
    start, grads = gradients(1, 2)[0], gradients(50, 2)
    for recipe in RECIPES.values():
        stack = [p.clone() for p in start]
        optimizer = make_optimizer(stack, [Lane(split=make_split())] * 2, recipe)
        bag = Bag(start)
        twin = optimizer_of(bag, recipe)
        for g in grads:
            optimizer.step([t.clone() for t in g], 1.0)
            for p, t in zip(bag.values, g, strict=True):
                p.grad = t.clone()
            twin.step()
        for p, q in zip(stack, bag.values, strict=True):
            torch.testing.assert_close(p, q.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("own", ["alike", "own all"])
def test_a_parameter_without_a_gradient_stays_as_torch_optim_leaves_it(own):
    """One has none in some steps, one never; a moment that counts no steps agrees all along."""
    recipe = RECIPES["weight decay"]
    lanes = [Lane(split=make_split(), **o) for o in OWN[own]]
    start, grads = gradients(1, 3)[0], gradients(20, 3)
    rows = [[g[0], None, None if t % 3 == 1 else g[2]] for t, g in enumerate(grads)]
    rows[7] = [None, None, None]
    stack = [p.clone() for p in start]
    optimizer = make_optimizer(stack, lanes, recipe)
    for row in rows:
        optimizer.step([g if g is None else g.clone() for g in row], 1.0)
    for i, o in enumerate(OWN[own]):
        bag = Bag([p[i] for p in start])
        twin = optimizer_of(bag, recipe, **o)
        for row in rows:
            for p, g in zip(bag.values, row, strict=True):
                p.grad = None if g is None else g[i].clone()
            twin.step()
        for p, q in zip(stack, bag.values, strict=True):
            torch.testing.assert_close(p[i], q.detach(), rtol=1e-6, atol=1e-7)
    assert torch.equal(stack[1], start[1])


def test_lanes_that_stay_keep_their_moments():
    lanes = [Lane(split=make_split(), lr=lr) for lr in (0.1, 0.2, 0.3)]
    for name in ("momentum", "adam", "m3", "rm3"):
        start, grads = gradients(1, 3)[0], gradients(20, 3)
        whole, part = ([p.clone() for p in start] for _ in range(2))
        first = make_optimizer(whole, lanes, RECIPES[name])
        second = make_optimizer(part, lanes, RECIPES[name])
        keep = torch.tensor([0, 2])
        for t, g in enumerate(grads):
            first.step([v.clone() for v in g], 1.0)
            if t == 10:
                part = [p[keep] for p in part]
                second.keep(part, [lanes[0], lanes[2]], keep)
            second.step([v[keep] if t >= 10 else v.clone() for v in g], 1.0)
        for p, q in zip(whole, part, strict=True):
            assert torch.equal(p[keep], q)
