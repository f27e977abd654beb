"""Twin: the groups' shares of the gradient. Oracle: gradients one example at a time, NumPy."""

import numpy as np
import pytest
import torch

from gengap import Probes, fit
from gengap._streams import streams
from gengap.training._coherence_probe import probe_sample
from tests.training.test_coherence_probe import RECIPE, SEED, make_split, noisy, perceptron, stacked


def probed(split, **how):
    """Return the coherence frame of a short run, and the run."""
    run = fit(perceptron, split, recipe=RECIPE, seed=SEED, probes=Probes(coherence=20, **how))
    return run.coherence, run


def at_end(run, split):
    """Return the summed gradient's inner product with every example's, and who is corrupted."""
    sample = split[probe_sample(split.changed, 20, SEED)]
    held = dict(run.model.named_parameters())
    rows = list(stacked(run.model, held, sample, "cross_entropy").values())
    gradients = np.concatenate([np.asarray(row).reshape(len(sample), -1) for row in rows], 1)
    return gradients @ gradients.sum(0), sample.changed.numpy()


def test_shares_are_the_groups_parts_of_the_gradient():
    split = noisy(make_split())
    frame, run = probed(split)
    dots, changed = at_end(run, split)
    last = frame[frame["step"] == run.steps].set_index(["layer", "group"])["share"]
    assert last["", "clean"] == pytest.approx(dots[~changed].sum() / dots.sum(), rel=1e-3)
    assert last["", "corrupted"] == pytest.approx(dots[changed].sum() / dots.sum(), rel=1e-3)
    wide = frame.pivot(index=["step", "layer"], columns="group", values="share")
    assert np.allclose(wide["clean"] + wide["corrupted"], 1)
    assert np.allclose(wide["all"], 1)
    with pytest.raises(ValueError, match="`null_worlds` must be asked for before training"):
        _ = run.null_worlds


def test_null_worlds_give_the_shares_of_random_designations():
    split = noisy(make_split())
    frame, run = probed(split, null_worlds=7)
    dots, changed = at_end(run, split)
    dots = np.concatenate([dots[~changed], dots[changed]])
    generator = streams(SEED)("null worlds")
    worlds = [torch.randperm(20, generator=generator).numpy() for _ in range(7)]
    shares = [dots[world[: (~changed).sum()]].sum() / dots.sum() for world in worlds]
    null = run.null_worlds
    last = null[null["step"] == run.steps]
    assert last["world"].tolist() == list(range(7))
    assert np.allclose(last["share"], shares, rtol=1e-3, atol=1e-4)
    assert np.ptp(shares) > 0.01
    assert set(null["step"]) == set(frame["step"])
    assert set(null["epoch"]) == set(frame["epoch"])


def test_data_without_corruption_have_no_null_worlds():
    frame, run = probed(make_split(), null_worlds=3)
    assert run.null_worlds.columns.tolist() == ["epoch", "step", "world", "share"]
    assert run.null_worlds.empty
    assert np.allclose(frame["share"], 1)


def test_the_number_of_null_worlds_is_checked():
    with pytest.raises(ValueError, match="`null_worlds` must be a whole number of at least 0"):
        Probes(null_worlds=-1)
    with pytest.raises(ValueError, match="`null_worlds` must go with `coherence`"):
        Probes(null_worlds=20)
