"""Property and closed form: nesting, shares of changed labels, and histograms of new ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gengap.corruptions import (
    Compose,
    PairFlip,
    RandomLabels,
    SymmetricNoise,
    TransitionMatrix,
)
from gengap.data import Split

quick = settings(derandomize=True, database=None, deadline=None, max_examples=25)
probabilities = st.floats(0, 1)
seeds = st.integers(0, 2**40)
T = np.array([[0.4, 0.6, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0], [0.5, 0, 0.5, 0]])


def make_split(n=300, c=4, half="train"):
    return Split(inputs=torch.zeros(n, 1), targets=torch.arange(n) % c, num_classes=c, half=half)


def scaled(t, matrix=T):
    return TransitionMatrix(matrix=np.eye(len(matrix)) + t * (matrix - np.eye(len(matrix))))


BY_STRENGTH = {
    "random": lambda p: RandomLabels(probability=p),
    "symmetric": lambda p: SymmetricNoise(probability=p),
    "pair": lambda p: PairFlip(probability=p),
    "matrix": scaled,
}


@pytest.mark.parametrize("make", BY_STRENGTH.values(), ids=BY_STRENGTH)
@given(p=probabilities, q=probabilities, seed=seeds)
@quick
def test_changes_are_nested_in_the_strength(make, p, q, seed):
    split = make_split()
    low, high = (make(strength)(split, seed=seed) for strength in sorted((p, q)))
    assert not (low.changed & ~high.changed).any()
    assert torch.equal(low.targets[low.changed], high.targets[low.changed])


@pytest.mark.parametrize("make", BY_STRENGTH.values(), ids=BY_STRENGTH)
@given(p=probabilities, seed=seeds)
@quick
def test_changed_marks_exactly_the_labels_that_differ(make, p, seed):
    split = make_split()
    result = make(p)(split, seed=seed)
    assert torch.equal(result.changed, result.targets != split.targets)
    assert make(0.0)(split, seed=seed).changed.sum() == 0


def within_five_sigma(count, n, probability):
    sigma = (n * probability * (1 - probability)) ** 0.5
    return abs(count - n * probability) <= 5 * sigma


@pytest.mark.parametrize("p", [0.0, 0.2, 0.4, 1.0])
@pytest.mark.parametrize("c", [2, 10])
@pytest.mark.parametrize("kind", ["random", "symmetric", "pair"])
def test_share_of_changed_labels(kind, c, p):
    """Closed form: p (c - 1) / c where the true class may be redrawn, else p."""
    n = 100_000
    changed = BY_STRENGTH[kind](p)(make_split(n, c), seed=0).changed.sum().item()
    assert within_five_sigma(changed, n, p * (c - 1) / c if kind == "random" else p)


def test_random_labels_are_uniform_and_independent_of_the_true_ones():
    n, c = 160_000, 4
    result = RandomLabels(probability=1.0)(make_split(n, c), seed=0)
    for old in range(c):
        counts = torch.bincount(result.targets[result.true_targets == old], minlength=c)
        assert all(within_five_sigma(count, n // c, 1 / c) for count in counts.tolist())


def test_symmetric_noise_is_uniform_over_the_others():
    n, c = 160_000, 4
    result = SymmetricNoise(probability=1.0)(make_split(n, c), seed=0)
    for old in range(c):
        counts = torch.bincount(result.targets[result.true_targets == old], minlength=c).tolist()
        assert counts.pop(old) == 0
        assert all(within_five_sigma(count, n // c, 1 / (c - 1)) for count in counts)


def test_pair_flip_moves_to_the_next_class():
    result = PairFlip(probability=1.0)(make_split(), seed=0)
    assert torch.equal(result.targets, (result.true_targets + 1) % 4)


def test_transition_matrix_has_its_frequencies():
    n = 160_000
    result = TransitionMatrix(matrix=T)(make_split(n), seed=0)
    for old in range(4):
        counts = torch.bincount(result.targets[result.true_targets == old], minlength=4).tolist()
        assert all(within_five_sigma(k, n // 4, p) for k, p in zip(counts, T[old], strict=True))


def test_transition_matrix_contains_the_others():
    """Twin in distribution: redrawing at p is the matrix (1 - p) I + p / c."""
    n, c, p = 160_000, 4, 0.4
    matrix = (1 - p) * np.eye(c) + p / c
    shares = [
        corruption(make_split(n, c), seed=0).changed.double().mean().item()
        for corruption in (TransitionMatrix(matrix=matrix), RandomLabels(probability=p))
    ]
    assert shares == pytest.approx([0.3, 0.3], abs=5 * (0.3 * 0.7 / n) ** 0.5)


def test_two_in_a_row_do_not_share_draws():
    """Closed form: of the labels, 1 - (1 - p)^2 are redrawn at least once, not p."""
    n, c, p = 100_000, 10, 0.5
    twice = Compose(corruptions=(RandomLabels(probability=p), RandomLabels(probability=p)))
    differs = twice(make_split(n, c), seed=0)
    wrong = (differs.targets != differs.true_targets).sum().item()
    assert within_five_sigma(wrong, n, (1 - (1 - p) ** 2) * (c - 1) / c)


def test_what_was_changed_stays_marked_when_a_second_change_undoes_it():
    flip = PairFlip(probability=1.0)
    back = Compose(corruptions=(flip, flip))(make_split(c=2), seed=0)
    assert torch.equal(back.targets, back.true_targets)
    assert back.changed.all()


def test_no_corruptions_compose_to_none():
    split = make_split()
    assert Compose(corruptions=())(split, seed=0) is split


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("kind", [RandomLabels, SymmetricNoise, PairFlip])
def test_probabilities_are_checked(kind, p):
    with pytest.raises(ValueError, match=r"`probability` must lie in \[0, 1\]; got"):
        kind(probability=p)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (((0.5, 0.5),), r"`matrix` must be square; got 1 rows and one of 2 values\."),
        (((0.5, 0.4), (0.0, 1.0)), r"`matrix` must have rows of probabilities that sum to 1; got"),
        (((1.5, -0.5), (0.0, 1.0)), r"`matrix` must have rows of probabilities that sum to 1; got"),
        (((float("nan"), 1.0), (0.0, 1.0)), r"rows of probabilities"),
    ],
)
def test_matrices_are_checked(matrix, message):
    with pytest.raises(ValueError, match=message):
        TransitionMatrix(matrix=matrix)


def test_a_matrix_must_fit_the_classes():
    with pytest.raises(ValueError, match=r"one row for each of the 4 classes of `data`; got 2"):
        TransitionMatrix(matrix=((1, 0), (0, 1)))(make_split(), seed=0)


@pytest.mark.parametrize("kind", [SymmetricNoise, PairFlip])
def test_one_class_leaves_nothing_to_change_to(kind):
    with pytest.raises(ValueError, match=r"needs at least 2 classes; got 1 in `data`"):
        kind(probability=0.1)(make_split(c=1), seed=0)


def test_only_corruptions_compose():
    with pytest.raises(TypeError, match="`corruptions` must hold corruptions; got 'noise'"):
        Compose(corruptions=("noise",))
