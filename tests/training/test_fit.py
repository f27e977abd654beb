"""Twin: `fit` against the obvious loop of tests/reference, in float32 and in float64."""

from dataclasses import replace

import pytest
import torch

from gengap._errors import DataError
from gengap.data import Augmentation, Preprocessing, Split
from gengap.training import (
    Cosine,
    Exponential,
    Lane,
    Probes,
    Recipe,
    Step,
    build_seeded,
    fit,
    fit_lanes,
)
from tests.reference.plain_training import train_plainly
from tests.training.cases import (
    Centred,
    Viewed,
    convolutional,
    make_images,
    make_real,
    make_split,
    normed,
    perceptron,
    tanh_network,
    weights,
)

EXP = Exponential(rate=0.9)
# Adam's eps is large, because a bias before BatchNorm has a gradient of pure rounding error.
RECIPES = {
    "sgd": (Recipe(momentum=0.0), lambda t: 1.0),
    "momentum": (Recipe(lr=0.05), lambda t: 1.0),
    "nesterov, weight decay": (
        Recipe(lr=0.05, nesterov=True, weight_decay=0.01),
        lambda t: 1.0,
    ),
    "adam": (Recipe(optimizer="adam", lr=0.01, weight_decay=0.01, eps=1e-3), lambda t: 1.0),
    "adamw": (Recipe(optimizer="adamw", lr=0.01, weight_decay=0.1, eps=1e-3), lambda t: 1.0),
    "exponential": (Recipe(lr=0.05, schedule=EXP), lambda t: 0.9 ** (t // 4)),
    "step": (Recipe(lr=0.05, schedule=Step(milestones=(2,))), lambda t: 0.1 if t >= 8 else 1.0),
    "cosine, warm-up": (
        Recipe(lr=0.05, schedule=Cosine(), warmup_steps=6),
        lambda t: (
            0.5 * (1 + torch.cos(torch.tensor(torch.pi * t / 20, dtype=torch.float64)).item())
        ),
    ),
    "label smoothing": (Recipe(lr=0.05, label_smoothing=0.2), lambda t: 1.0),
}


def compare(run, twin, *, rtol):
    torch.testing.assert_close(weights(run.model), weights(twin.model), rtol=rtol, atol=rtol)
    assert len(run.history) == len(twin.history)
    for row, expected in zip(run.rows, twin.history, strict=True):
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=10 * rtol, abs=10 * rtol, nan_ok=True)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("build", [perceptron, tanh_network, normed])
def test_fit_is_the_obvious_loop(name, build):
    recipe, factor = RECIPES[name]
    recipe = replace(recipe, epochs=5, batch_size=12)
    split = make_split(n=40)
    changed = torch.arange(40) % 3 == 0
    split = replace(split, changed=changed)
    test = make_split(n=17, half="test")
    run = fit(build, split, test=test, recipe=recipe, seed=3)
    twin = train_plainly(build, split, test=test, recipe=recipe, seed=3, factor=factor)
    compare(run, twin, rtol=2e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_fit_is_the_obvious_loop_in_float64(name):
    recipe, factor = RECIPES[name]
    recipe = replace(recipe, epochs=5, batch_size=12)
    split = make_split(n=40)
    split = replace(split, inputs=split.inputs.double())

    def build():
        return normed().double()

    run = fit(build, split, recipe=recipe, seed=3)
    twin = train_plainly(build, split, recipe=recipe, seed=3, factor=factor)
    compare(run, twin, rtol=1e-11)


@pytest.mark.parametrize("build", [convolutional, Viewed])
@pytest.mark.parametrize("augmentation", [None, Augmentation(random_crop=True, flip=True)])
def test_convolutional_networks_on_images(augmentation, build):
    preprocessing = Preprocessing(scale=255.0, crop=6, standardize="image")
    split = make_images(side=8, preprocessing=preprocessing)
    recipe = Recipe(epochs=4, batch_size=10, lr=0.05, augmentation=augmentation)
    run = fit(
        build,
        split,
        test=make_images(n=9, side=8, half="test", preprocessing=preprocessing),
        recipe=recipe,
    )
    twin = train_plainly(
        build,
        split,
        test=make_images(n=9, side=8, half="test", preprocessing=preprocessing),
        recipe=recipe,
    )
    compare(run, twin, rtol=5e-5)


def test_a_buffer_that_is_replaced_in_every_step():
    split, recipe = make_split(), Recipe(epochs=4, batch_size=10, lr=0.05)
    run = fit(Centred, split, recipe=recipe)
    compare(run, train_plainly(Centred, split, recipe=recipe), rtol=2e-5)
    assert run.model.mean.abs().sum() > 0
    lanes = [Lane(split=split, seed=s) for s in range(2)]
    together = fit_lanes(Centred, lanes, recipe=recipe)
    assert torch.equal(together[0].model.mean, run.model.mean)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize(
    "build",
    [convolutional, Viewed, lambda: convolutional().to(memory_format=torch.channels_last)],
)
def test_trained_weights_lie_in_memory_as_they_did(build):
    images, model = make_images(), build()
    run = fit(model, images, recipe=Recipe(epochs=2), probes=Probes(coherence=8))
    before, after = (dict(m.named_parameters()) for m in (model, run.model))
    assert {k: p.stride() for k, p in before.items()} == {k: p.stride() for k, p in after.items()}
    assert run.model(torch.randn(3, 2, 6, 6)).shape == (3, 3)
    assert run.history["m_coherence"].notna().any()


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_squared_error(hidden):
    split = make_real()
    recipe = Recipe(epochs=5, batch_size=8, lr=0.02, loss="squared_error")

    def build():
        return perceptron(dim=5, hidden=hidden, classes=2)

    run = fit(build, split, recipe=recipe)
    compare(run, train_plainly(build, split, recipe=recipe), rtol=2e-5)
    assert run.history["train_accuracy"].isna().all()


def test_targets_in_float64_go_with_a_network_in_float32():
    split = make_real()
    double = replace(split, targets=split.targets.double(), true_targets=None)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.02, loss="squared_error")
    for build in (lambda: perceptron(5, (8,), 2), lambda: tanh_network(5, 2)):
        a, b = (fit(build, s, recipe=recipe) for s in (split, double))
        assert torch.equal(weights(a.model), weights(b.model))


class Shared(torch.nn.Module):
    """Two layers with one weight, one frozen layer, one that is never used."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.frozen, self.out = torch.nn.Linear(6, 6), torch.nn.Linear(6, 3)
        self.frozen.requires_grad_(False)
        self.unused = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.out(self.frozen(self.b(self.a(x).relu()).relu()).relu())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "median_of_three"])
def test_tied_frozen_and_unused_parameters(optimizer):
    """Weight decay leaves alone what the loss does not use."""
    lr = 0.05 if optimizer in {"sgd", "median_of_three"} else 0.003
    recipe = Recipe(epochs=4, batch_size=12, lr=lr, weight_decay=0.1, optimizer=optimizer)
    split = make_split()
    run = fit(Shared, split, recipe=recipe)
    compare(run, train_plainly(Shared, split, recipe=recipe), rtol=2e-5)
    assert run.model.a.weight is run.model.b.weight
    lanes = fit_lanes(Shared, [Lane(split=split, seed=s) for s in (0, 1)], recipe=recipe)
    torch.testing.assert_close(weights(lanes[0].model), weights(run.model), rtol=1e-4, atol=1e-5)
    for one in (run, *lanes):
        assert torch.equal(one.model.unused.weight, build_seeded(Shared, one.seed).unused.weight)


def test_layers_that_come_twice():
    relu, drop = torch.nn.ReLU(), torch.nn.Dropout(0.5)

    def build():
        return torch.nn.Sequential(
            torch.nn.Linear(6, 8),
            relu,
            drop,
            torch.nn.Linear(8, 8),
            relu,
            drop,
            torch.nn.Linear(8, 3),
        )

    recipe = Recipe(epochs=3, batch_size=12, lr=0.05, dropout=0.0)
    run = fit(build, make_split(), recipe=recipe)
    compare(
        run, train_plainly(lambda: build_without(build), make_split(), recipe=recipe), rtol=2e-5
    )


def build_without(build):
    model = build()
    model[2] = model[5] = torch.nn.Identity()
    return model


def test_hooks_are_called():
    def build():
        model = perceptron()
        model[1].register_forward_hook(lambda module, inputs, output: output * 2)
        return model

    recipe = Recipe(epochs=2, batch_size=12, lr=0.05)
    run = fit(build, make_split(), recipe=recipe)
    compare(run, train_plainly(build, make_split(), recipe=recipe), rtol=2e-5)


def test_a_streamed_split_trains_like_one_in_memory():
    from gengap.data import Source

    class Streamed(Source):
        def __init__(self, x):
            self.x, self.shape, self.dtype = x, tuple(x.shape), x.dtype

        def gather(self, indices):
            return self.x[indices]

        def fingerprint(self):
            return "x"

    split = make_split()
    streamed = Split(inputs=Streamed(split.inputs), targets=split.targets, num_classes=3)
    recipe = Recipe(epochs=2, batch_size=12, early_stopping=5)
    a, b = (fit(perceptron, s, recipe=recipe) for s in (split, streamed))
    assert torch.equal(weights(a.model), weights(b.model))
    assert a.rows[-1]["held_out_loss"] == b.rows[-1]["held_out_loss"]


@pytest.mark.parametrize("build", [perceptron, normed])
def test_bfloat16_comes_close_to_float32(build):
    split = make_split(n=60)
    recipe = Recipe(epochs=10, batch_size=12, lr=0.05)
    full = fit(build, split, recipe=recipe)
    half = fit(build, split, recipe=replace(recipe, precision="bfloat16"))
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    assert half.final["train_loss"] == pytest.approx(full.final["train_loss"], abs=0.05)
    assert half.final["train_loss"] != full.final["train_loss"]


def test_epochs_between_evaluations_train_all_the_same():
    split = make_split()
    recipe = Recipe(epochs=7, batch_size=12)
    every, third = (
        fit(perceptron, split, recipe=replace(recipe, evaluate_every=k)) for k in (1, 3)
    )
    assert list(third.history["epoch"]) == [0, 3, 6, 7]
    assert torch.equal(weights(every.model), weights(third.model))


@pytest.mark.gpu
@pytest.mark.parametrize("build", [perceptron, normed])
def test_a_gpu_gives_what_the_cpu_gives(build):
    split, recipe = make_split(), Recipe(epochs=3, batch_size=12, lr=0.05)
    a, b = (fit(build, split, recipe=recipe, device=d) for d in ("cpu", "cuda"))
    torch.testing.assert_close(weights(a.model), weights(b.model), rtol=1e-3, atol=1e-4)


def test_a_test_split_whose_classes_have_other_names_is_refused():
    train = make_split(n=12, class_names=("a", "b", "c"))
    test = make_split(n=12, half="test", class_names=("c", "b", "a"))
    recipe = Recipe(epochs=1, batch_size=4)
    with pytest.raises(DataError, match="must have the same classes in the same order"):
        fit(perceptron, train, test=test, recipe=recipe)
    with pytest.raises(DataError, match="must have the same classes in the same order"):
        fit_lanes(perceptron, [Lane(split=train)], test=test, recipe=recipe)
    fit(perceptron, train, test=replace(test, class_names=None), recipe=recipe)
