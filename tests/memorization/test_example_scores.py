"""Closed form: scores of examples and their ranking. Oracle: frames written out by hand, a run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import gengap
from gengap.corruptions import RandomLabels
from gengap.data import gaussian_clusters
from gengap.memorization import (
    SCORES,
    average_precision,
    example_scores,
    forgetting,
    learning_time,
    network_scores,
    rank_labels,
)
from gengap.models import mlp
from gengap.training import Probes, Recipe
from tests.training.cases import make_split

NAN = np.nan
FRAME = pd.DataFrame({
    "example": range(4),
    "first_learned": [1.0, 1.0, NAN, 2.0],
    "last_learned": [1.0, 4.0, NAN, NAN],
    "forgotten": [0, 2, 0, 1],
    "margin": [3.0, 1.0, -2.0, 0.5],
    "mean_loss": [0.1, 0.5, 3.0, 1.0],
    "confidence": [0.9, 0.7, 0.1, 0.6],
    "suggested": [1, 2, 0, 1],
    "suggested_confidence": [0.05, 0.2, 0.8, 0.3],
    "loss": [0.01, 0.02, 2.0, 1.5],
})


def split_of(n=4, **fields):
    return replace(make_split(n=n), **fields)


def test_learning_time_orders_by_first_then_last_then_never():
    assert learning_time(FRAME).argsort().tolist() == [0, 1, 3, 2]
    assert learning_time(FRAME).tolist() == pytest.approx([
        1 + 1 / 6,
        1 + 4 / 6,
        5 + 5 / 6,
        2 + 5 / 6,
    ])
    never = FRAME.assign(first_learned=NAN, last_learned=NAN)
    assert len(set(learning_time(never))) == 1


def test_what_was_never_learned_counts_as_forgotten_most():
    assert forgetting(FRAME).tolist() == [0, 2, 3, 1]


def test_higher_is_more_suspicious_in_every_score():
    for name, values in example_scores(FRAME).items():
        assert values.argmax() == 2 and values.dtype == np.float64, name


def test_the_ranking_averages_runs_and_follows_the_score_asked_for():
    other = FRAME.assign(margin=[-9.0, 0.0, 0.0, 0.0], suggested=[2, 2, 1, 1])
    split = split_of()
    one = rank_labels(split, [FRAME])
    assert one["example"].tolist() == [2, 3, 1, 0] and one["rank"].tolist() == [1, 2, 3, 4]
    two = rank_labels(split, [FRAME, other])
    assert two["example"].tolist() == [0, 2, 3, 1]
    assert two["negative_margin"].tolist() == [3.0, 1.0, -0.25, -0.5]
    assert two["given"].tolist() == split.targets[[0, 2, 3, 1]].tolist()
    networks = [{"gradient_norm": np.array([4.0, 9.0, 1.0, 2.0])}] * 2
    by = rank_labels(split, [FRAME, other], networks=networks, by="gradient_norm")
    assert by["example"].tolist() == [1, 0, 3, 2]


def test_equal_scores_are_ordered_by_the_mean_loss():
    even = FRAME.assign(margin=0.0)
    assert rank_labels(split_of(), [even])["example"].tolist() == [2, 3, 1, 0]


def test_runs_vote_for_the_suggested_label_by_probability():
    frames = [
        FRAME.assign(suggested=label, suggested_confidence=likely)
        for label, likely in ((1, 0.5), (2, 0.3), (2, 0.3))
    ]
    found = rank_labels(split_of(), frames)
    assert set(found["suggested"]) == {2}
    assert found["suggested_confidence"].to_numpy() == pytest.approx(0.2)


def test_truth_and_names_are_shown_where_they_are_known():
    split = split_of(class_names=("cat", "dog", "eel"))
    assert "changed" not in rank_labels(split, [FRAME])
    true = torch.tensor([0, 1, 2, 2])
    noisy = replace(
        split,
        targets=torch.tensor([0, 1, 0, 2]),
        true_targets=true,
        changed=torch.tensor([False, False, True, False]),
    )
    first = rank_labels(noisy, [FRAME.assign(suggested=2)]).iloc[0]
    assert (first["given"], first["suggested"], first["true"]) == ("cat", "eel", "eel")
    assert bool(first["changed"]) is True


def test_labels_are_judged_by_the_truth_not_by_what_was_touched():
    touched = split_of(changed=torch.ones(4, dtype=torch.bool))  # as by noise on pixels
    assert not {"changed", "true"} & set(rank_labels(touched, [FRAME]))
    true = touched.targets.clone()
    true[1] = (true[1] + 1) % 3
    found = rank_labels(replace(touched, true_targets=true), [FRAME]).sort_values("example")
    assert found["changed"].tolist() == [False, True, False, False]


@pytest.mark.parametrize("networks", [False, True])
def test_runs_that_diverged_are_left_out(networks):
    scores = [{"gradient_norm": np.arange(4.0)}, {"gradient_norm": np.ones(4)}]
    given = {"networks": scores} if networks else {}
    alone = {"networks": scores[:1]} if networks else {}
    lost = FRAME.assign(margin=NAN, mean_loss=NAN, suggested=2, suggested_confidence=1.0)
    expected = rank_labels(split_of(), [FRAME], **alone)
    pd.testing.assert_frame_equal(rank_labels(split_of(), [FRAME, lost], **given), expected)
    if networks:
        scores[1]["gradient_norm"][2] = NAN
        found = rank_labels(split_of(), [FRAME, FRAME.assign(margin=0.0)], **given)
        pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(ValueError, match=r"a run that did not diverge; got NaN .* all 2"):
        rank_labels(split_of(), [lost, lost], **given)


@pytest.mark.parametrize(
    ("frames", "by", "message"),
    [
        ([FRAME[:3]], "negative_margin", "a row for each of the 4 examples"),
        ([FRAME[::-1]], "negative_margin", "in the order of the split; got another"),
        ([], "negative_margin", "at least one run"),
        ([FRAME], "error_norm", "`by` must be one of"),
    ],
)
def test_what_cannot_be_is_said(frames, by, message):
    with pytest.raises(ValueError, match=message):
        rank_labels(split_of(), frames, by=by)


def test_scores_of_other_networks_are_refused():
    one = {"error_norm": np.zeros(4)}
    with pytest.raises(ValueError, match="those of the 1 runs of `examples`; got 3"):
        rank_labels(split_of(), [FRAME], networks=[one] * 3)
    short = {"error_norm": np.zeros(3)}
    with pytest.raises(ValueError, match="for each of the 4 examples; got 3 of 'error_norm'"):
        rank_labels(split_of(), [FRAME], networks=[short])


def test_every_score_finds_the_redrawn_labels_of_separate_clusters():
    """Five clusters far apart with a fifth of the labels redrawn: chance would be about 0.16."""
    clean = gaussian_clusters(400, dim=10, num_classes=5, separation=6.0, seed=1)
    noisy = RandomLabels(probability=0.2)(clean, seed=2)
    recipe = Recipe(epochs=6, lr=0.02, batch_size=20)
    run = gengap.fit(
        lambda: mlp((10,), 5, hidden=(32,)), noisy, recipe=recipe, probes=Probes(examples=True)
    )
    networks = [network_scores(gengap.Risk(run.model, noisy))]
    found = rank_labels(noisy, [run.examples], networks=networks)
    assert {*found} >= set(SCORES)
    changed = found["changed"].to_numpy()
    least = {"forgetting": 0.6, "learning_time": 0.9, "gradient_norm": 0.9, "misalignment": 0.9}
    for name in SCORES:
        precision = average_precision(found[name].to_numpy(), changed).value
        assert precision > least.get(name, 0.95), (name, precision)
    assert (found["suggested"] == found["true"])[changed].mean() > 0.95
