"""Property: what is given to `fit` is left alone, and the same seed gives the same bits.

That the global random state is left alone is checked around every test.
"""

import copy

import pytest
import torch

from gengap.training import Recipe, Run, fit
from tests.training.cases import convolutional, make_images, make_split, normed, perceptron, weights

RECIPE = Recipe(epochs=2, batch_size=12, dropout=0.3)


class Buffered(torch.nn.Module):
    """A buffer that is not saved and counts calls in training mode."""

    def __init__(self):
        super().__init__()
        self.out, self.drop = torch.nn.Linear(6, 3), torch.nn.Dropout()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x):
        if self.training:
            self.calls.add_(1)
        return self.out(self.drop(x))


@pytest.mark.parametrize("build", [perceptron, normed, Buffered])
@pytest.mark.global_rng("torch")
def test_a_model_given_is_left_alone(build):
    model = build()
    model.train()
    list(model.modules())[1].eval()
    model(torch.randn(5, 6)).sum().backward()
    before = copy.deepcopy(model)
    for copied, parameter in zip(before.parameters(), model.parameters(), strict=True):
        copied.grad = None if parameter.grad is None else parameter.grad.clone()
    state = torch.get_rng_state()
    split = make_split()
    run = fit(model, split, recipe=RECIPE)
    assert torch.equal(torch.get_rng_state(), state)
    assert run.model is not model
    assert repr(model) == repr(before)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    for (name, a), (_, b) in zip(
        [*model.named_parameters(), *model.named_buffers()],
        [*before.named_parameters(), *before.named_buffers()],
        strict=True,
    ):
        assert torch.equal(a, b), name
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)
    assert not torch.equal(weights(run.model), weights(model))
    assert repr(run.model) == repr(before)
    assert not any(module.training for module in run.model.modules())
    assert all(p.grad is None and p.requires_grad for p in run.model.parameters())


@pytest.mark.parametrize(
    ("build", "split"),
    [
        (perceptron, make_split()),
        (normed, make_split()),
        (convolutional, make_images()),
    ],
)
def test_the_same_seed_gives_the_same_bits(build, split):
    runs = [fit(build, split, recipe=RECIPE, seed=seed) for seed in (4, 4, 5)]
    assert torch.equal(weights(runs[0].model), weights(runs[1].model))
    assert not torch.equal(weights(runs[0].model), weights(runs[2].model))
    first, second = (run.history.drop(columns="seconds") for run in runs[:2])
    assert first.equals(second)


def test_buffers_that_are_not_saved_are_trained_too():
    from gengap.training import Lane, Packing, fit_lanes

    split = make_split()
    lanes = [Lane(split=split, seed=s) for s in range(2)]
    for packing in (Packing(2, 1, ""), Packing(1, 2, "")):
        for run in fit_lanes(Buffered, lanes, recipe=RECIPE, packing=packing):
            assert run.model.calls == run.steps == 8


def test_a_run_tells_how_it_went():
    run = fit(perceptron, make_split(), test=make_split(n=9, half="test"), recipe=RECIPE)
    assert isinstance(run, Run)
    assert list(run.history)[:10] == [
        "epoch", "step", "lr", "train_loss", "train_accuracy", "clean_accuracy",
        "corrupted_accuracy", "test_loss", "test_accuracy", "seconds",
    ]  # fmt: skip
    assert run.history["corrupted_accuracy"].isna().all()
    assert run.history["clean_accuracy"].equals(run.history["train_accuracy"])
    assert run.history["seconds"].is_monotonic_increasing
    assert run.seed == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"momentum": 1.0},
        {"lr": 0.0},
        {"weight_decay": -1.0},
    ],
)
def test_a_lane_checks_its_own_numbers(fields):
    from gengap.training import Lane

    with pytest.raises(ValueError, match=f"`{next(iter(fields))}` must .*; got "):
        Lane(split=make_split(), **fields)
