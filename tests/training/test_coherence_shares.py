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
    assert frame["null_lowest"].isna().all()


def test_null_worlds_give_the_range_over_random_designations():
    split = noisy(make_split())
    frame, run = probed(split, null_worlds=7)
    dots, changed = at_end(run, split)
    dots = np.concatenate([dots[~changed], dots[changed]])
    generator = streams(SEED)("null worlds")
    worlds = [torch.randperm(20, generator=generator).numpy() for _ in range(7)]
    shares = [dots[world[: (~changed).sum()]].sum() / dots.sum() for world in worlds]
    last = frame[(frame["step"] == run.steps) & (frame["layer"] == "")].set_index("group")
    assert last.loc["clean", "null_lowest"] == pytest.approx(min(shares), rel=1e-3, abs=1e-4)
    assert last.loc["clean", "null_highest"] == pytest.approx(max(shares), rel=1e-3, abs=1e-4)
    assert last.loc["corrupted", "null_lowest"] == pytest.approx(1 - max(shares), rel=1e-3)
    assert frame.loc[frame["layer"] != "", "null_lowest"].isna().all()
    assert frame.loc[frame["group"] == "all", "null_highest"].isna().all()


def test_data_without_corruption_have_no_null_worlds():
    frame, _ = probed(make_split(), null_worlds=3)
    assert frame["null_lowest"].isna().all()
    assert np.allclose(frame["share"], 1)


def test_the_number_of_null_worlds_is_checked():
    with pytest.raises(ValueError, match="`null_worlds` must be a whole number of at least 0"):
        Probes(null_worlds=-1)
