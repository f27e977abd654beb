"""Twin: networks whose modules do more than their classes against PyTorch's own call of them."""

import functools
import types

import pytest
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from gengap.training import Lane, Recipe, fit, fit_lanes
from tests.training.cases import make_split

SPLIT = make_split(n=30)
RECIPE = Recipe(epochs=4, batch_size=10, lr=0.5)


def plain():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.0), nn.Linear(8, 3))


def halved(module, x):
    return F.linear(x, module.weight, module.bias) / 2


def with_bound_forward():
    model = plain()
    model[0].forward = types.MethodType(halved, model[0])
    return model


def with_partial_forward():
    model = plain()
    model[0].forward = functools.partial(halved, model[0])
    return model


def with_a_call_of_its_own():
    model = plain()
    model[0]._call_impl = types.MethodType(halved, model[0])
    return model


def with_forward_of_the_whole():
    model = plain()
    model.forward = types.MethodType(lambda self, x: -self[3](self[1](self[0](x))), model)
    return model


def with_dropout_that_halves():
    model = plain()
    model[2].forward = types.MethodType(lambda self, x: x / 2, model[2])
    return model


class Halving(nn.Dropout):
    def forward(self, x):
        return x / 2


def with_a_subclass_of_dropout():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Halving(0.0), nn.Linear(8, 3))


def with_a_subclass_of_linear():
    class Half(nn.Linear):
        forward = halved

    return nn.Sequential(Half(6, 8), nn.ReLU(), nn.Linear(8, 3))


def with_a_parametrization():
    model = plain()
    nn.utils.parametrizations.weight_norm(model[0])
    return model


def with_a_fixed_weight():
    model = plain()
    weight = model[0].weight.detach()
    del model[0].weight
    model[0].register_buffer("weight", weight)
    return model


def with_hook(place, always=False):
    model = plain()
    model[place].register_forward_hook(lambda *call: call[-1] / 2, always_call=always)
    return model


def with_pre_hook():
    model = plain()
    model[3].register_forward_pre_hook(lambda _, inputs: (inputs[0] / 2,))
    return model


NETWORKS = {
    "bound": with_bound_forward,
    "partial": with_partial_forward,
    "call": with_a_call_of_its_own,
    "whole": with_forward_of_the_whole,
    "dropout": with_dropout_that_halves,
    "dropout subclass": with_a_subclass_of_dropout,
    "linear subclass": with_a_subclass_of_linear,
    "parametrization": with_a_parametrization,
    "fixed weight": with_a_fixed_weight,
    "hook": lambda: with_hook(0),
    "hook always": lambda: with_hook(0, always=True),
    "hook of dropout": lambda: with_hook(2),
    "pre-hook": with_pre_hook,
}


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_the_history_is_that_of_the_network_as_pytorch_calls_it(build):
    x, y = SPLIT.batch()
    kept = []

    def on_epoch(trainer):
        kept.append(trainer.program.lane(0))

    run = fit(build, SPLIT, recipe=RECIPE, on_epoch=on_epoch, device="cpu")
    held = dict([*run.model.named_parameters(), *run.model.named_buffers()])
    for row, values in zip(run.rows, kept, strict=True):
        for name, value in values.items():
            held[name].data.copy_(value)
        loss = F.cross_entropy(run.model(x), y)
        assert row["train_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert run.rows[-1]["train_loss"] < run.rows[0]["train_loss"]


@pytest.mark.parametrize("build", [with_bound_forward, with_dropout_that_halves])
def test_lanes_take_the_same_path(build):
    runs = fit_lanes(build, [Lane(split=SPLIT, seed=s) for s in (0, 1)], recipe=RECIPE)
    for seed, run in enumerate(runs):
        alone = fit(build, SPLIT, recipe=RECIPE, seed=seed)
        assert run.final["train_loss"] == pytest.approx(alone.final["train_loss"], rel=1e-4)


def test_a_hook_on_all_modules_is_called():
    calls = []
    handle = register_module_forward_hook(lambda *call: calls.append(call[0]))
    try:
        fit(plain, SPLIT, recipe=RECIPE, device="cpu")
    finally:
        handle.remove()
    assert len(calls) > 4 * 3 * 5  # epochs, batches, modules


def test_a_function_that_holds_on_to_the_original_is_refused():
    def build():
        model = plain()
        own = model[0].forward
        model[0].forward = lambda x: own(x) / 2
        return model

    with pytest.raises(ValueError, match=r"can be copied; got one whose Linear '0' has a func"):
        fit(build, SPLIT, recipe=RECIPE, device="cpu")


def test_the_probability_of_the_recipe_reaches_a_dropout_of_ones_own():
    seen = []

    class Seen(nn.Dropout):
        def forward(self, x):
            seen.append(self.p)
            return super().forward(x)

    def build():
        return nn.Sequential(nn.Linear(6, 8), Seen(0.1), nn.Linear(8, 3))

    fit(build, SPLIT, recipe=Recipe(epochs=1, dropout=0.25), device="cpu")
    assert seen[-1] == 0.25
