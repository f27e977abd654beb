"""Twin: m-coherence during training against its definition over stacked float64 gradients.

Oracles: `torch.func` gradients of every example in float64, at the values that the trainer holds
at that step; the definition in words for sample, schedule and layers.
"""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from gengap.corruptions import RandomLabels
from gengap.training import Probes, Recipe, fit
from gengap.training._coherence_probe import probe_sample
from tests.training.cases import (
    convolutional,
    make_images,
    make_real,
    make_split,
    normed,
    perceptron,
)

RECIPE = Recipe(epochs=3, batch_size=10, lr=0.1, dropout=0.0)
SEED = 2


def stacked(model, values, split, loss):
    """Gradients of every example in float64, name to [n, ...]."""
    twin = copy.deepcopy(model).double().eval()
    values = {k: v.detach() for k, v in values.items()}
    values = {k: v.double() if v.is_floating_point() else v for k, v in values.items()}
    trained = {k: values[k] for k, p in twin.named_parameters() if p.requires_grad}

    def of_one(point, x, y):
        outputs = functional_call(twin, {**values, **point}, (x[None],))[0]
        if loss == "squared_error":
            return 0.5 * (outputs - y).square().sum()
        return F.cross_entropy(outputs[None], y[None])

    x, y = split.batch()
    y = y.double() if y.is_floating_point() else y
    return vmap(grad(of_one), in_dims=(None, 0, 0))(trained, x.double(), y)


def losses_of(model, values, split, loss):
    """Losses of every example in float32, one at a time."""
    twin = copy.deepcopy(model).eval()
    found = []
    for x, y in split.batches(1):
        outputs = functional_call(twin, {k: v.detach() for k, v in values.items()}, (x,))
        squared = loss == "squared_error"
        one = 0.5 * (outputs - y).square().sum() if squared else F.cross_entropy(outputs, y)
        found.append(float(one))
    return np.array(found)


def told_plainly(gradients, owners, groups):
    """m-coherence by its definition: layer and group to number."""
    found = {}
    for layer in ["", *dict.fromkeys(owners.values())]:
        names = [n for n in gradients if layer in ("", owners[n])]
        g = torch.cat([gradients[n].flatten(1) for n in names], 1).numpy()
        for group, mask in groups.items():
            rows = g[mask]
            if len(rows):
                total = np.sum([np.sum(row**2) for row in rows])
                found[layer, group] = np.sum(rows.sum(0) ** 2) / total
    return found


def noisy(split):
    return RandomLabels(probability=0.6)(split, seed=0)


class Bare(nn.Module):
    """Parameters of its own beside those of a layer, one of them frozen."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.shift = nn.Parameter(torch.ones(6), requires_grad=False)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.tanh(x * self.scale + self.shift))


CASES = {
    "perceptron": (perceptron, noisy(make_split())),
    "BatchNorm": (normed, noisy(make_split())),
    "convolutions": (convolutional, noisy(make_images(n=30))),
    "nothing corrupted": (perceptron, make_split()),
    "own parameters": (Bare, noisy(make_split())),
    "real targets": (lambda: perceptron(5, classes=2), make_real()),
}


@pytest.mark.parametrize("size", [16, 1000])
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_definition_at_the_values_of_that_step(name, size):
    build, split = CASES[name]
    loss = "cross_entropy" if split.num_classes else "squared_error"
    recipe = replace(RECIPE, loss=loss, lr=0.1 if split.num_classes else 0.01)
    held = {}

    def keep(trainer):
        held[trainer.step] = trainer.program.lane(0) if trainer.active else None

    probes = Probes(coherence=size, first_steps=0, growth=1e9)
    run = fit(build, split, recipe=recipe, seed=SEED, probes=probes, on_epoch=keep)
    held[run.steps] = dict([*run.model.named_parameters(), *run.model.named_buffers()])
    frame = run.coherence
    sample = split[probe_sample(split.changed, size, SEED)]
    masks = {
        "all": np.ones(len(sample), bool),
        "clean": ~sample.changed.numpy(),
        "corrupted": sample.changed.numpy(),
    }
    steps = [run.rows[epoch]["step"] for epoch in range(4)]
    assert frame["step"].drop_duplicates().tolist() == [0, 1, *steps[1:]]
    for epoch, step in enumerate(steps):
        gradients = stacked(run.model, held[step], sample, loss)
        gradients_loss = losses_of(run.model, held[step], sample, loss)
        owners = {n: n.rpartition(".")[0] or "." for n in gradients}
        expected = told_plainly(gradients, owners, masks)
        rows = frame[frame["step"] == step]
        assert set(rows["epoch"]) == {epoch}
        found = rows.set_index(["layer", "group"])
        assert set(found.index) == expected.keys()
        for key, value in expected.items():
            assert found.loc[key, "m_coherence"] == pytest.approx(value, rel=2e-4, abs=1e-6)
            count = int(masks[key[1]].sum())
            assert found.loc[key, "examples"] == count
            mean = gradients_loss[masks[key[1]]].mean()
            assert found.loc[key, "loss"] == pytest.approx(mean, rel=1e-5)
            assert found.loc[key, "alpha"] == pytest.approx(found.loc[key, "m_coherence"] / count)
        row = run.rows[epoch]
        for column, group in (
            ("m_coherence", "all"),
            ("m_coherence_clean", "clean"),
            ("m_coherence_corrupted", "corrupted"),
        ):
            at = expected.get(("", group), np.nan)
            assert row[column] == pytest.approx(at, rel=2e-4, nan_ok=True)


def test_between_evaluations_it_is_the_definition_too():
    split, held = noisy(make_split()), {}
    recipe = replace(RECIPE, epochs=5, batch_size=40, evaluate_every=5)  # an epoch is a step
    run = fit(
        normed,
        split,
        recipe=recipe,
        probes=Probes(coherence=40),
        on_epoch=lambda t: held.update({t.step: t.program.lane(0) if t.active else None}),
    )
    frame = run.coherence.query("layer == '' and group == 'all'").set_index("step")
    assert frame.index.tolist() == frame["epoch"].tolist() == [0, 1, 2, 3, 4, 5]
    for step in range(5):
        gradients = stacked(run.model, held[step], split, "cross_entropy")
        expected = told_plainly(gradients, dict.fromkeys(gradients, "."), {"": slice(None)})
        assert frame.loc[step, "m_coherence"] == pytest.approx(expected["", ""], rel=2e-4)


def test_the_gradient_is_that_of_the_plain_loss():
    """Without weight decay, label smoothing, dropout or augmentation: as at lr 0 without them."""
    split = noisy(make_split())
    still = replace(RECIPE, epochs=1, lr=1e-30)
    changed = replace(still, weight_decay=0.1, label_smoothing=0.2, dropout=0.5)
    probes = Probes(coherence=20)
    frames = [fit(perceptron, split, recipe=r, probes=probes).coherence for r in (still, changed)]
    pd.testing.assert_frame_equal(*frames)


def test_the_schedule_is_dense_at_first_then_geometric_and_at_every_evaluation():
    recipe = replace(RECIPE, epochs=12, batch_size=4, evaluate_every=5)
    probes = Probes(coherence=5, first_steps=4, growth=1.5)
    run = fit(perceptron, make_split(n=40), recipe=recipe, probes=probes)
    steps = run.coherence["step"].drop_duplicates().tolist()
    geometric = [round(4 * 1.5**k) for k in range(1, 9)]
    assert steps == sorted({0, 1, 2, 3, 4, *geometric, 50, 100, 120} & set(range(121)))
    epochs = run.coherence.drop_duplicates("step")["epoch"].tolist()
    assert epochs == [step // 10 for step in steps]
    rarely = replace(probes, every=2)
    frame = fit(perceptron, make_split(n=40), recipe=recipe, probes=rarely)
    steps = frame.coherence["step"].drop_duplicates().tolist()
    assert steps == sorted({0, 1, 2, 3, 4, *geometric, 100} & set(range(121)))
    assert [np.isnan(row["m_coherence"]) for row in frame.rows] == [False, True, False, True]


@pytest.mark.parametrize("first_steps", [0, 1, 7, 10])
@pytest.mark.parametrize("growth", [1.01, 1.25, 2.0, 7.3])
def test_due_steps_are_those_of_the_growing_sequence(first_steps, growth):
    probes = Probes(coherence=1, first_steps=first_steps, growth=growth)
    expected, step = set(range(first_steps + 1)), float(max(1, first_steps))
    while step <= 3000:
        expected.add(round(step))
        step *= growth
    assert {step for step in range(3000) if probes.is_due(step)} == {
        step for step in expected if step < 3000
    }


def test_the_sample_is_fixed_and_has_its_share_of_the_corrupted():
    changed = torch.arange(1000) % 10 == 0
    sample = probe_sample(changed, 200, seed=1)
    assert torch.equal(sample, probe_sample(changed, 200, seed=1))
    assert not torch.equal(sample, probe_sample(changed, 200, seed=2))
    assert len(set(sample.tolist())) == 200 and int(changed[sample].sum()) == 20
    assert torch.equal(sample, sample.sort().values)
    rare = torch.arange(1000) == 3
    assert rare[probe_sample(rare, 50, seed=0)].sum() == 1
    assert (~rare[probe_sample(~rare, 50, seed=0)]).sum() == 49
    assert torch.equal(probe_sample(rare, 5000, seed=0), torch.arange(1000))
    for none in (torch.zeros(30, dtype=torch.bool), torch.ones(30, dtype=torch.bool)):
        assert len(probe_sample(none, 12, seed=0)) == 12


def test_every_example_is_drawn_about_as_often():
    changed = torch.arange(20) < 10
    counts = torch.zeros(20)
    for seed in range(400):
        counts[probe_sample(changed, 10, seed)] += 1
    assert (counts - 200).abs().max() < 5 * 10  # sd of 400 fair coins


def test_a_diverging_run_ends_with_what_was_measured():
    recipe = replace(RECIPE, lr=1e30)
    run = fit(perceptron, make_split(), recipe=recipe, probes=Probes(coherence=10, examples=True))
    assert run.status == "diverged"
    first = run.coherence[run.coherence["step"] == 0]
    assert first["m_coherence"].notna().all() and len(run.examples) == 40


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"coherence": 0}, "`coherence` must be a whole number of at least 1"),
        ({"coherence": 2.5}, "`coherence` must be a whole number"),
        ({"first_steps": -1}, "`first_steps` must be"),
        ({"growth": 1.0}, "`growth` must be above 1"),
        ({"growth": float("nan")}, "`growth` must be above 1"),
        ({"every": 0}, "`every` must be"),
    ],
)
def test_what_does_not_fit_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        Probes(**fields)


def test_examples_must_be_said_plainly():
    with pytest.raises(TypeError, match="`examples` must be True or False"):
        Probes(examples=3)


def test_a_network_without_single_examples_is_refused():
    def build():
        return nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False))

    with pytest.raises(ValueError, match="treat every example by itself"):
        fit(build, make_split(), recipe=RECIPE, probes=Probes(coherence=8))
