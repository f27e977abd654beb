"""Oracles: cross_val_predict for held-out probabilities; scores by hand."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from torch import nn

from gengap.corruptions import RandomLabels
from gengap.data import as_split, gaussian_clusters
from gengap.memorization import held_out_probabilities, rank_by_probabilities, usable_folds

SPLIT = gaussian_clusters(90, dim=4, num_classes=3, separation=4.0, seed=0)
NOISY = RandomLabels(probability=0.2)(SPLIT, seed=0)


def test_probabilities_are_those_of_cross_val_predict():
    found = held_out_probabilities(GaussianNB(), NOISY, folds=3, seed=7)
    drawn = StratifiedKFold(3, shuffle=True, random_state=7)
    x, y = NOISY.inputs.numpy(), NOISY.targets.numpy()
    want = cross_val_predict(GaussianNB(), x, y, cv=drawn, method="predict_proba")
    np.testing.assert_allclose(found, want)


def test_scores_by_hand():
    split = as_split(np.zeros((3, 1), np.float32), [0, 1, 2], class_names=["a", "b", "c"])
    one = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.0, 1.0, 0.0]])
    ranking = rank_by_probabilities(split, [one])
    assert ranking["example"].tolist() == [2, 1, 0]
    assert ranking["given"].tolist() == ["c", "b", "a"]
    assert ranking["suggested"].tolist() == ["b", "a", "b"]
    assert ranking["negative_margin"].tolist() == pytest.approx([1.0, 0.3, -0.5])
    assert ranking["doubt"].tolist() == pytest.approx([1.0, 0.7, 0.3])
    assert ranking["mean_loss"].tolist() == pytest.approx([
        12 * np.log(10),
        -np.log(0.3),
        -np.log(0.7),
    ])


def test_scores_are_means_over_the_seeds_by_hand():
    split = as_split(np.zeros((3, 1), np.float32), [0, 1, 2], class_names=["a", "b", "c"])
    one = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.0, 1.0, 0.0]])
    two = np.array([[0.2, 0.1, 0.7], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]])
    found = rank_by_probabilities(split, [one, two], by="doubt").set_index("example").sort_index()
    assert found["rank"].tolist() == [3, 2, 1]
    assert found["negative_margin"].tolist() == pytest.approx([0, 0.5, 0.625])
    assert found["mean_loss"].tolist() == pytest.approx([
        -np.log(0.7 * 0.2) / 2,
        -np.log(0.3 * 0.1) / 2,
        -np.log(1e-12 * 0.25) / 2,
    ])
    assert found["confidence"].tolist() == pytest.approx([0.45, 0.2, 0.125])
    assert found["doubt"].tolist() == pytest.approx([0.55, 0.8, 0.875])
    assert found["suggested"].tolist() == ["c", "c", "b"]
    assert found["suggested_confidence"].tolist() == pytest.approx([0.4, 0.45, 0.625])


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ([], "one array or more; got none"),
        ([np.zeros((4, 3))], r"finite and \[3, 3\]; got \[4, 3\]"),
        ([np.full((3, 3), np.nan)], r"finite and \[3, 3\]"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(probabilities, words):
    split = as_split(np.zeros((3, 1), np.float32), [0, 1, 2])
    with pytest.raises(ValueError, match=f"`probabilities` must .*{words}"):
        rank_by_probabilities(split, probabilities)
    with pytest.raises(ValueError, match="`by` must be one of"):
        rank_by_probabilities(split, [np.full((3, 3), 1 / 3)], by="learning_time")


def test_there_are_no_more_folds_than_the_rarest_label_has_examples():
    split = as_split(SPLIT.inputs[:40], torch.tensor([0, 1] * 18 + [2] * 4))
    assert [usable_folds(split, folds) for folds in (2, 4, 5, 20)] == [2, 4, 4, 4]
    with pytest.raises(ValueError, match="`split` must have classes"):
        usable_folds(as_split(SPLIT.inputs, SPLIT.targets + 0.5, regression=True), 5)


def test_the_seed_is_of_estimators_that_draw_and_have_none_of_their_own():
    def found(own, seed):
        model = RandomForestClassifier(3, random_state=own)
        return held_out_probabilities(model, NOISY, folds=2, seed=seed)

    np.testing.assert_array_equal(found(None, 1), found(1, 1))
    assert (found(None, 1) != found(2, 1)).any()


def test_a_class_that_no_fold_has_gets_no_probability():
    split = as_split(SPLIT.inputs, SPLIT.targets, num_classes=5)
    found = held_out_probabilities(GaussianNB(), split)
    assert (found[:, 3:] == 0).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_a_label_with_one_example_is_refused():
    y = torch.tensor([2] + [0, 1] * 4)
    split = as_split(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)), y)
    with pytest.raises(ValueError, match=r"two examples or more of every label.* one of 2"):
        held_out_probabilities(GaussianNB(), split)


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 3), nn.Softmax(-1))

    def forward(self, x):
        assert x.shape[1:] == (1, 4, 4)
        return self.net(x)


@pytest.mark.global_rng
def test_a_network_of_skorch_takes_images():
    skorch = pytest.importorskip("skorch")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(60, 1, 4, 4, generator=generator)
    split = as_split(images, torch.arange(60) % 3)
    net = skorch.NeuralNetClassifier(Images, max_epochs=2, lr=0.1, verbose=0, train_split=None)
    one, two = (held_out_probabilities(net, split, folds=2) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(one.sum(1), 1, rtol=1e-5)
