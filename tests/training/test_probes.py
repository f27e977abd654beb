"""Twin: the probes of a run against the run stopped and looked at after every epoch.

Oracles: a slow loop over epochs and examples in plain Python; training without probes.
"""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import gengap
from gengap.corruptions import RandomLabels
from gengap.training import Lane, Packing, Probes, Recipe, fit, fit_lanes
from tests.training.cases import make_real, make_split, normed, perceptron, weights

TOGETHER = Packing(64, 1, "a test")
RECIPE = Recipe(epochs=8, batch_size=10, lr=0.3, momentum=0.0)
EXAMPLES = Probes(examples=True)


def noisy(seed=0, n=40):
    return RandomLabels(probability=0.5)(make_split(n=n, seed=seed), seed=seed)


def looked_at(build, split, recipe, seed=0):
    """Logits of every example after every evaluated epoch, by runs of growing length."""
    epochs = [e for e in range(1, recipe.epochs + 1) if e % recipe.evaluate_every == 0]
    epochs = sorted({*epochs, recipe.epochs})
    found = {}
    for epoch in epochs:
        model = fit(build, split, recipe=replace(recipe, epochs=epoch), seed=seed).model
        with torch.no_grad():
            found[epoch] = model(split.batch()[0]).double().tolist()
    return found


def told_plainly(split, logits):
    """Learning times, forgetting, margins and losses, one example and epoch at a time."""
    rows = []
    for i, label in enumerate(split.targets.tolist()):
        right, margins, losses = [], [], []
        likely = [0.0] * len(next(iter(logits.values()))[i])
        for epoch, outputs in logits.items():
            z = outputs[i]
            others = [v for k, v in enumerate(z) if k != label]
            margins.append(z[label] - max(others))
            total = sum(np.exp(v) for v in z)
            losses.append(np.log(total) - z[label])
            likely = [p + np.exp(v) / total / len(logits) for p, v in zip(likely, z, strict=True)]
            right.append((epoch, z.index(max(z)) == label))
        first = [epoch for epoch, hit in right if hit]
        wrong = [place for place, (_, hit) in enumerate(right) if not hit]
        since = right[wrong[-1] + 1 :] if wrong else right
        pairs = itertools.pairwise(right)
        other = max((p, k) for k, p in enumerate(likely) if k != label)
        rows.append({
            "example": i,
            "changed": bool(split.changed[i]),
            "first_learned": first[0] if first else np.nan,
            "last_learned": since[0][0] if since else np.nan,
            "forgotten": sum(a and not b for (_, a), (_, b) in pairs),
            "margin": sum(margins) / len(margins),
            "mean_loss": sum(losses) / len(losses),
            "confidence": likely[label],
            "suggested": other[1],
            "suggested_confidence": other[0],
            "loss": losses[-1],
            "correct": right[-1][1],
        })
    return pd.DataFrame(rows)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("build", [perceptron, normed])
def test_examples_are_followed_as_by_a_plain_loop(build, every):
    split, recipe = noisy(), replace(RECIPE, evaluate_every=every)
    found = fit(build, split, recipe=recipe, probes=EXAMPLES).examples
    expected = told_plainly(split, looked_at(build, split, recipe))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-5, check_dtype=False)
    assert found["forgotten"].max() > 0
    assert found["first_learned"].isna().any() and (found["first_learned"] > 1).any()


def test_the_history_counts_what_the_frame_says():
    split = noisy()
    run = fit(perceptron, split, recipe=RECIPE, probes=EXAMPLES)
    examples, history = run.examples, run.history.set_index("epoch")
    for epoch in history.index:
        learned = examples["first_learned"] <= epoch
        assert history.loc[epoch, "learned"] == learned.mean()
        for name, which in (("clean", False), ("corrupted", True)):
            mask = examples["changed"] == which
            assert history.loc[epoch, f"learned_{name}"] == pytest.approx(learned[mask].mean())
    assert history["forgetting_events"].sum() == examples["forgotten"].sum()
    assert history.loc[8, "train_accuracy"] == examples["correct"].mean()
    assert history.loc[8, "train_loss"] == pytest.approx(examples["loss"].mean())


def test_examples_cost_no_further_pass(monkeypatch):
    passes = []
    real = gengap.training._perceptron_program.PerceptronProgram.outputs
    monkeypatch.setattr(
        gengap.training._perceptron_program.PerceptronProgram,
        "outputs",
        lambda self, x: passes.append(1) or real(self, x),
    )
    counts = []
    for probes in (None, EXAMPLES):
        passes.clear()
        fit(perceptron, noisy(), recipe=RECIPE, probes=probes)
        counts.append(len(passes))
    assert counts[0] == counts[1] == RECIPE.epochs + 1


def test_held_out_examples_are_not_followed():
    recipe = replace(RECIPE, early_stopping=3, held_out=0.25)
    split = noisy()
    run = fit(perceptron, split, recipe=recipe, seed=3, probes=EXAMPLES)
    frame = run.examples
    assert len(frame) == 30 and frame["example"].is_monotonic_increasing
    rows = torch.tensor(frame["example"].to_numpy())
    assert split.changed[rows].tolist() == frame["changed"].tolist()
    assert run.final["train_loss"] == pytest.approx(frame["loss"].mean())
    twin = fit(perceptron, split[rows], recipe=replace(RECIPE, epochs=run.epochs), seed=3)
    with torch.no_grad():
        losses = F.cross_entropy(
            twin.model(split.inputs[rows]), split.targets[rows], reduction="none"
        )
    torch.testing.assert_close(torch.tensor(frame["loss"].to_numpy()), losses.double())


def test_margins_need_classes():
    with pytest.raises(ValueError, match="`examples` of the probes must go with classes"):
        fit(
            lambda: perceptron(5, classes=2),
            make_real(),
            recipe=Recipe(loss="squared_error"),
            probes=EXAMPLES,
        )


def test_what_was_not_asked_for_is_not_there():
    run = fit(perceptron, make_split(), recipe=replace(RECIPE, epochs=1))
    assert run.probed is None and "learned" not in run.history
    with pytest.raises(ValueError, match="`examples` must be asked for before training"):
        _ = run.examples


@pytest.mark.parametrize("build", [perceptron, normed])
@pytest.mark.parametrize(
    "probes", [EXAMPLES, Probes(coherence=12), Probes(coherence=100, examples=True)], ids=str
)
def test_training_does_the_same_with_and_without(build, probes):
    recipe = replace(RECIPE, dropout=0.3, momentum=0.9, lr=0.05)
    lanes = [Lane(split=noisy(s), seed=s) for s in range(2)]
    plain = fit_lanes(build, lanes, recipe=recipe, packing=TOGETHER)
    probed = fit_lanes(build, lanes, recipe=recipe, packing=TOGETHER, probes=probes)
    plain.append(fit(build, noisy(), recipe=recipe))
    probed.append(fit(build, noisy(), recipe=recipe, probes=probes))
    for run, twin in zip(plain, probed, strict=True):
        assert torch.equal(weights(run.model), weights(twin.model))
        for row, other in zip(run.rows, twin.rows, strict=True):
            assert {k: repr(row[k]) for k in row.keys() - {"seconds"}} == {
                k: repr(other[k]) for k in row.keys() - {"seconds"}
            }


@pytest.mark.parametrize("packing", [TOGETHER, Packing(1, 2, "a test")])
def test_lanes_are_probed_as_the_run_alone(packing):
    probes = Probes(coherence=20, examples=True)
    recipe = replace(RECIPE, epochs=20, stop_at_accuracy=0.75)
    rates = {3: 0.2, 2: 0.8, 0: 0.4, 1: 0.1}  # the first leaves first
    lanes = [Lane(split=noisy(s), seed=s, lr=lr) for s, lr in rates.items()]
    runs = fit_lanes(normed, lanes, recipe=recipe, packing=packing, probes=probes)
    assert runs[0].epochs < runs[1].epochs < runs[3].epochs
    for lane, run in zip(lanes, runs, strict=True):
        own = replace(recipe, lr=lane.lr)
        twin = fit(normed, lane.split, recipe=own, seed=lane.seed, probes=probes)
        for name in ("examples", "coherence"):
            pd.testing.assert_frame_equal(
                getattr(run, name), getattr(twin, name), rtol=2e-3, atol=2e-4
            )


@pytest.mark.parametrize("top", [1, 2, 5])
def test_top_accuracy_counts_labels_among_the_largest_outputs(top):
    split, test = make_split(n=40), make_split(n=25, half="test")
    run = fit(
        perceptron, split, test=test, recipe=Recipe(epochs=3, batch_size=8), probes=Probes(top=top)
    )
    last = run.history.iloc[-1]
    for half, part in (("train", split), ("test", test)):
        x, y = part.batch()
        ranked = np.argsort(-run.model(x).detach().numpy(), axis=1, kind="stable")[:, :top]
        share = np.mean([label in row for label, row in zip(y.tolist(), ranked, strict=True)])
        assert last[f"{half}_top{top}_accuracy"] == pytest.approx(share, abs=1e-12)
    if top == 1:
        assert last["test_top1_accuracy"] == last["test_accuracy"]


def test_top_accuracy_is_a_whole_number_of_outputs():
    with pytest.raises(ValueError, match="`top` must be a whole number of at least 1; got 0"):
        Probes(top=0)
