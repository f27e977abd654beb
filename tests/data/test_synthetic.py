"""Closed form: Bayes errors of clusters, moments of a ReLU teacher; bands of five deviations."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from gengap._streams import streams
from gengap.data import gaussian_clusters, teacher_student
from gengap.data._synthetic import _teacher


def nearest_mean_error(n, dim, num_classes, separation):
    """Error of the nearest class mean, the means estimated from another draw."""
    arguments = {"dim": dim, "num_classes": num_classes, "separation": separation, "seed": 0}
    train = gaussian_clusters(n, **arguments)
    test = gaussian_clusters(n, **arguments, half="test")
    means = torch.stack([train.inputs[train.targets == k].mean(0) for k in range(num_classes)])
    guess = torch.cdist(test.inputs, means).argmin(1)
    return float((guess != test.targets).double().mean())


def bayes_error(num_classes, separation):
    def correct(z):
        return stats.norm.pdf(z) * stats.norm.cdf(z + separation / 2**0.5) ** (num_classes - 1)

    return 1 - integrate.quad(correct, -12, 12)[0]


def test_the_formula_gives_the_known_values():
    assert bayes_error(2, 2.0) == pytest.approx(stats.norm.cdf(-1.0), abs=1e-9)
    assert bayes_error(7, 0.0) == pytest.approx(6 / 7, abs=1e-9)


@pytest.mark.parametrize(
    ("dim", "num_classes", "separation"), [(1, 2, 2.0), (20, 2, 1.0), (9, 10, 3.0), (30, 5, 0.0)]
)
def test_the_nearest_mean_errs_as_often_as_the_best_classifier_must(dim, num_classes, separation):
    n = 40_000
    expected = bayes_error(num_classes, separation)
    sigma = math.sqrt(expected * (1 - expected) / n)
    # estimated means cost about dim * c / n of error, here under 0.004 more
    assert (
        -5 * sigma
        < nearest_mean_error(n, dim, num_classes, separation) - expected
        < (5 * sigma + 0.004)
    )


def test_means_are_equally_far_apart_around_the_origin():
    split = gaussian_clusters(100_000, dim=4, num_classes=5, separation=100.0, seed=3)
    means = torch.stack([split.inputs[split.targets == k].double().mean(0) for k in range(5)])
    distances = torch.pdist(means)
    assert float((distances - 100).abs().max()) < 0.1
    assert float(means.mean(0).abs().max()) < 0.05


def test_classes_are_balanced_and_halves_differ():
    train = gaussian_clusters(11, dim=3, num_classes=3, separation=1.0, seed=0)
    test = gaussian_clusters(11, dim=3, num_classes=3, separation=1.0, seed=0, half="test")
    assert sorted(torch.bincount(train.targets).tolist()) == [3, 4, 4]
    assert not torch.equal(train.inputs, test.inputs) and test.half == "test"
    again = gaussian_clusters(11, dim=3, num_classes=3, separation=1.0, seed=0)
    assert again.fingerprint() == train.fingerprint()
    other = gaussian_clusters(11, dim=3, num_classes=3, separation=1.0, seed=1)
    assert other.fingerprint() != train.fingerprint()


def test_the_teacher_has_its_closed_form_mean_and_variance():
    """Over x: mean sum(a) / sqrt(2 pi h); second moments from the arc-cosine kernel."""
    n, dim, hidden = 200_000, 6, 5
    split = teacher_student(n, dim=dim, hidden=hidden, noise=0.5, seed=4)
    weights, signs = (t.numpy() for t in _teacher(dim, hidden, None, streams(4)("teacher")))
    theta = np.arccos(np.clip(weights @ weights.T, -1, 1))
    kernel = (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
    a = signs[0]
    mean = a.sum() / math.sqrt(2 * np.pi * hidden)
    variance = a @ kernel @ a / hidden - mean**2 + 0.5**2
    y = split.targets[:, 0].double().numpy()
    assert abs(y.mean() - mean) < 5 * math.sqrt(variance / n)
    spread = ((y - y.mean()) ** 2).std() / math.sqrt(n)
    assert abs(y.var() - variance) < 5 * spread


def test_noise_is_the_least_possible_error():
    """The teacher itself, evaluated by numpy, leaves the noise and nothing else."""
    n, dim, hidden, noise = 50_000, 4, 8, 0.3
    split = teacher_student(n, dim=dim, hidden=hidden, noise=noise, seed=1, half="test")
    weights, signs = (t.numpy() for t in _teacher(dim, hidden, None, streams(1)("teacher")))
    x = split.inputs.double().numpy()
    outputs = np.maximum(x @ weights.T, 0) @ signs[0] / math.sqrt(hidden)
    squares = (split.targets[:, 0].double().numpy() - outputs) ** 2
    assert abs(squares.mean() - noise**2) < 5 * noise**2 * math.sqrt(2 / n)
    assert split.num_classes is None and split.targets.shape == (n, 1)


def test_labels_are_the_largest_output_of_the_teacher():
    split = teacher_student(500, dim=4, hidden=8, seed=1, num_classes=3)
    weights, outer = (t.numpy() for t in _teacher(4, 8, 3, streams(1)("teacher")))
    outputs = np.maximum(split.inputs.double().numpy() @ weights.T, 0) @ outer.T
    margin = np.sort(outputs, 1)[:, -1] - np.sort(outputs, 1)[:, -2]
    clear = margin > 1e-4  # inputs are stored as float32
    assert clear.mean() > 0.9
    assert np.array_equal(split.targets.numpy()[clear], outputs.argmax(1)[clear])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_clusters(9, dim=3, num_classes=5, separation=1.0, seed=0),
         "`dim` must be a whole number of at least 4; got 3"),
        (lambda: gaussian_clusters(9, dim=3, separation=-1.0, seed=0), "`separation` must be at"),
        (lambda: gaussian_clusters(0, dim=3, separation=1.0, seed=0), "`n` must be a whole"),
        (lambda: teacher_student(9, dim=0, hidden=3, seed=0), "`dim` must be a whole"),
        (lambda: teacher_student(9, dim=2, hidden=3, noise=-1, seed=0), "`noise` must be at"),
        (lambda: teacher_student(9, dim=2, hidden=3, num_classes=1, seed=0), "`num_classes`"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
