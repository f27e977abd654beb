"""Twin: batches against the splits' own, evaluation against a loop over single examples."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from gengap.data import Augmentation, Preprocessing
from gengap.training import ExampleProbe, Recipe, _evaluation, _feed
from gengap.training._autograd_program import AutogradProgram
from gengap.training._evaluation import evaluate
from gengap.training._feed import Feed
from tests.training.cases import make_images, make_real, make_split, normed, perceptron

pytestmark = pytest.mark.global_rng("torch")
CPU = torch.device("cpu")
WHITENED = Preprocessing(scale=255.0, crop=6, standardize="image")


def splits_of(kind):
    first = make_images(side=8, preprocessing=WHITENED)
    relabelled = replace(first, targets=(first.targets + 1) % 3)
    return {
        "one": [first],
        "shared": [first, relabelled],
        "own": [first, make_images(side=8, seed=2, preprocessing=WHITENED)],
        "mixed": [first, make_images(side=8, seed=2, preprocessing=WHITENED), relabelled],
        "other preprocessing": [first, replace(first, preprocessing=Preprocessing(crop=6))],
        "unequal": [first, first[:10], make_images(n=31, side=8, preprocessing=WHITENED)],
    }[kind]


KINDS = ["one", "shared", "own", "mixed", "other preprocessing", "unequal"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cache", [True, False])
def test_batches_are_those_of_the_splits(kind, cache):
    splits = splits_of(kind)
    feed = Feed(splits, CPU, cache=cache)
    least = min(map(len, splits))
    for size in (1, 7):
        rows = torch.stack([torch.randperm(least)[:size] for _ in splits])
        x, y = feed.batch(rows)
        for i, split in enumerate(splits):
            expected = split.batch(rows[i])
            assert torch.equal(x[i], expected[0])
            assert torch.equal(y[i], expected[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cache", [True, False])
def test_in_order_pads_with_the_last_example(kind, cache):
    splits = splits_of(kind)
    feed = Feed(splits, CPU, cache=cache)
    seen = []
    for x, y, rows in feed.in_order(9):
        seen += rows.tolist()
        for i, split in enumerate(splits):
            expected = split.batch(rows.clamp_max(len(split) - 1))
            assert torch.equal(x[i], expected[0])
            assert torch.equal(y[i], expected[1])
            assert torch.equal(feed.valid[i, rows], rows < len(split))
    assert seen == list(range(max(map(len, splits))))


@pytest.mark.parametrize("cache", [True, False])
def test_kept_lanes_are_served_as_before(cache):
    splits = splits_of("mixed")
    feed, few = Feed(splits, CPU, cache=cache), Feed(splits, CPU, cache=cache)
    few.keep([1, 2])
    rows = torch.stack([torch.randperm(20)[:6] for _ in splits])
    for whole, part in zip(feed.batch(rows), few.batch(rows[1:]), strict=True):
        assert torch.equal(whole[1:], part)
    few.keep([1])
    assert torch.equal(feed.batch(rows)[0][2:], few.batch(rows[2:])[0])


def test_augmentation_draws_from_the_lane_whatever_is_cached():
    splits = splits_of("shared")
    augmentation = Augmentation(random_crop=True, flip=True)
    rows = torch.stack([torch.randperm(20)[:6] for _ in splits])
    for cache in (True, False):
        generators = [torch.Generator().manual_seed(s) for s in range(2)]
        feed = Feed(splits, CPU, cache=cache)
        x, _ = feed.batch(rows, augmentation=augmentation, generators=generators)
        for i, split in enumerate(splits):
            generator = torch.Generator().manual_seed(i)
            expected, _ = split.batch(rows[i], augmentation=augmentation, generator=generator)
            assert torch.equal(x[i], expected)


def test_bytes_stay_bytes_above_the_limit(monkeypatch):
    split = splits_of("one")[0]
    floats = len(split) * 2 * 6 * 6
    for limit, cached in ((4 * floats, True), (4 * floats - 1, False)):
        monkeypatch.setattr(_feed, "_CACHE_BYTES", limit)
        feed = Feed([split], CPU)
        assert (feed._pool is not None) == cached
        assert feed.splits[0].inputs.dtype == torch.uint8


def test_lanes_that_share_examples_hold_them_once():
    splits = splits_of("shared")
    feed = Feed(splits, CPU)
    assert len(feed._pool) == len(splits[0])
    assert feed.splits[0].inputs is feed.splits[1].inputs


def noisy(n, seed):
    split = make_split(n=n, seed=seed)
    return replace(split, changed=torch.arange(n) % 4 == seed % 4)


@pytest.mark.parametrize("build", [perceptron, normed])
def test_evaluation_is_a_loop_over_examples(build, monkeypatch):
    splits = [noisy(n, s) for s, n in enumerate((23, 40, 31))]
    splits.append(make_split(n=12, seed=9))
    models = [build() for _ in splits]
    program = AutogradProgram(models, Recipe())
    monkeypatch.setitem(_evaluation._FLOATS_A_CHUNK, "cpu", 16 * 6 * 4)
    found = evaluate(program, Feed(splits, CPU), loss="cross_entropy")
    for i, (model, split) in enumerate(zip(models, splits, strict=True)):
        model.eval()
        outputs = [model(split.inputs[k : k + 1].clone()).detach() for k in range(len(split))]
        pairs = list(zip(outputs, split.targets, strict=True))
        losses = [float(F.cross_entropy(o, t[None])) for o, t in pairs]
        hits = [int(o.argmax()) == int(t) for o, t in pairs]
        clean = [h for h, c in zip(hits, split.changed, strict=True) if not c]
        changed = [h for h, c in zip(hits, split.changed, strict=True) if c]
        assert found.loss[i] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        assert found.accuracy[i] == pytest.approx(sum(hits) / len(hits), abs=1e-12)
        assert found.clean_accuracy[i] == pytest.approx(sum(clean) / len(clean), abs=1e-12)
        expected = sum(changed) / len(changed) if changed else float("nan")
        assert found.corrupted_accuracy[i] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_evaluation_of_real_targets():
    split = make_real()
    model = perceptron(5, (4,), 2)
    found = evaluate(AutogradProgram([model], Recipe()), Feed([split], CPU), loss="squared_error")
    squares = [
        float((model.eval()(x[None]).detach() - y).square().sum()) / 2
        for x, y in zip(split.inputs, split.targets, strict=True)
    ]
    assert found.loss == pytest.approx([sum(squares) / len(squares)], rel=1e-5)
    assert found.accuracy[0] != found.accuracy[0]


# Outputs, and whether the label 0 is predicted by them.
NAN, INF = float("nan"), float("inf")
OUTPUTS = {
    "finite": ([2.0, 1.0, 0.0], True),
    "a class ruled out": ([2.0, -INF, 0.0], True),
    "all NaN": ([NAN, NAN, NAN], False),
    "NaN elsewhere": ([2.0, NAN, 0.0], False),
    "infinite": ([INF, 1.0, 0.0], False),
    "infinite elsewhere": ([2.0, 1.0, INF], False),
    "all ruled out": ([-INF, -INF, -INF], False),
    "equal": ([1.0, 1.0, 0.0], True),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_that_are_not_finite_are_not_right(kind):
    outputs, right = OUTPUTS[kind]
    split = make_split(n=20)
    split = replace(split, targets=torch.zeros_like(split.targets))
    model = perceptron()
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.copy_(torch.tensor(outputs))
    seen = []
    found = evaluate(
        AutogradProgram([model], Recipe()),
        Feed([split], CPU),
        loss="cross_entropy",
        watch=lambda outputs, *rest: seen.append((outputs, *rest)),
        top=3,
    )
    assert found.accuracy == [float(right)]
    assert found.top_accuracy == [float(right)]
    probe = ExampleProbe([split], [torch.arange(len(split))], CPU)
    for epoch in (0, 1):
        probe.start(epoch)
        for batch in seen:
            probe.take(*batch)
        probe.finish()
    columns = probe.columns(0)
    assert columns["correct"].tolist() == [right] * 20
    assert columns["first_learned"].isnan().tolist() == [not right] * 20
