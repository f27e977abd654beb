"""Twin and closed form: coherence within and between groups, shares, null worlds.

Oracle: all gradients in one matrix and every pair in a loop; groups built by hand.
"""

import itertools
import math

import numpy as np
import pytest
import torch

import gengap
from gengap.corruptions import RandomLabels
from gengap.data import gaussian_clusters
from gengap.models import mlp
from tests.reference import coherence as twin


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture
def vectors():
    """Three groups of 3, 4 and 5 vectors with means of their own."""
    return draws(12, 6) + np.repeat(draws(3, 6, seed=1), [3, 4, 5], axis=0)


GROUPS = ["easy"] * 3 + ["hard"] * 4 + ["odd"] * 5


def mean_product(g, a, b):
    """The mean inner product over all pairs of two different rows, one of a and one of b."""
    pairs = [float(g[i] @ g[j]) for i, j in itertools.product(a, b) if i != j]
    return np.mean(pairs)


def rows_of(groups):
    return {name: [i for i, own in enumerate(groups) if own == name] for name in set(groups)}


def test_each_group_is_what_it_is_alone(vectors):
    found = gengap.coherence(twin.risk_of(vectors, widths=[2, 4]), groups=GROUPS)
    assert list(found.per_group.index) == ["easy", "hard", "odd"]
    assert found.per_group["n"].tolist() == [3, 4, 5]
    for name, rows in rows_of(GROUPS).items():
        row, own = found.per_group.loc[name], vectors[rows]
        assert row["alpha"] == pytest.approx(twin.alpha(own))
        assert row["m_coherence"] == pytest.approx(len(rows) * twin.alpha(own))
        assert row["unbiased_alpha"] == pytest.approx(twin.unbiased_alpha(own))
        assert row["standard_error"] == pytest.approx(twin.jackknife_error(own))
        share = vectors.sum(0) @ own.sum(0) / np.square(vectors.sum(0)).sum()
        assert row["share"] == pytest.approx(share)
        assert row["norm_share"] == pytest.approx(np.square(own).sum() / np.square(vectors).sum())
    assert sum(found.groups.shares.values()) == pytest.approx(1, abs=1e-14)


def test_the_whole_does_not_depend_on_the_groups(vectors):
    risk = twin.risk_of(vectors, targets=torch.tensor([0, 1, 2] * 4))
    plain, parted = gengap.coherence(risk), gengap.coherence(risk, groups=GROUPS, per_class=True)
    assert parted.alpha == pytest.approx(plain.alpha, rel=1e-13)
    assert parted.standard_error == pytest.approx(plain.standard_error, rel=1e-10)
    np.testing.assert_allclose(parted.per_example, plain.per_example, rtol=1e-12)
    np.testing.assert_allclose(parted.squared_norms, plain.squared_norms)


def test_classes_go_by_their_names_beside_groups(vectors):
    targets = torch.tensor([0, 2] * 6)
    risk = twin.risk_of(vectors, targets=targets, class_names=("cat", "cow", "dog"))
    found = gengap.coherence(risk, per_class=True, groups=GROUPS)
    assert list(found.per_class.index) == ["cat", "dog"]
    for name, label in (("cat", 0), ("dog", 2)):
        own = vectors[(targets == label).numpy()]
        assert found.per_class.loc[name, "alpha"] == pytest.approx(twin.alpha(own))
    assert found.per_group.loc["hard", "alpha"] == pytest.approx(twin.alpha(vectors[3:7]))


def test_between_groups_every_pair_of_two_examples_counts(vectors):
    groups = gengap.coherence(twin.risk_of(vectors), groups=GROUPS).groups
    bare, by_norms = groups.between(normalized=None), groups.between()
    cosine = groups.between(normalized="cosine")
    rows = rows_of(GROUPS)
    for a, b in itertools.product(rows, rows):
        wanted = mean_product(vectors, rows[a], rows[b])
        norms = [np.square(vectors[rows[name]]).sum(1).mean() for name in (a, b)]
        own = [mean_product(vectors, rows[name], rows[name]) for name in (a, b)]
        assert bare.loc[a, b] == pytest.approx(wanted)
        assert by_norms.loc[a, b] == pytest.approx(wanted / math.sqrt(norms[0] * norms[1]))
        if min(own) > 0:
            assert cosine.loc[a, b] == pytest.approx(wanted / math.sqrt(own[0] * own[1]))
        else:
            assert math.isnan(cosine.loc[a, b])
    np.testing.assert_allclose(np.diag(by_norms), groups.frame["unbiased_alpha"])


def test_opposed_orthogonal_and_lonely_groups():
    vectors = np.array([[1.0, 0, 0], [1, 0, 0], [-2, 0, 0], [-2, 0, 0], [0, 3, 0]])
    groups = gengap.coherence(twin.risk_of(vectors), groups=[5, 5, 7, 7, 9]).groups
    cosine = groups.between(normalized="cosine")
    assert cosine.loc[5, 7] == pytest.approx(-1)
    assert groups.between().loc[5, 9] == pytest.approx(0)
    assert math.isnan(groups.between().loc[9, 9])
    assert math.isnan(groups.frame.loc[9, "unbiased_alpha"])
    assert groups.frame.loc[9, "alpha"] == pytest.approx(1)
    assert groups.shares == pytest.approx({5: -4 / 13, 7: 8 / 13, 9: 9 / 13})


def test_the_mean_product_between_groups_is_unbiased():
    means = draws(2, 4, seed=3)
    counts, total = [3, 6], np.zeros((2, 2))
    generator = np.random.default_rng(4)
    for _ in range(150):
        vectors = np.repeat(means, counts, axis=0) + generator.normal(size=(9, 4))
        total += gengap.coherence(
            twin.risk_of(vectors), groups=[0] * 3 + [1] * 6, standard_errors=False
        ).groups.between(normalized=None)
    np.testing.assert_allclose(total / 150, means @ means.T, atol=0.3)


def test_null_worlds_keep_the_sizes_and_lose_the_rest(vectors):
    vectors = np.concatenate([np.ones((30, 4)), draws(90, 4)])
    found = gengap.coherence(twin.risk_of(vectors), groups=["clean"] * 30 + ["corrupt"] * 90)
    worlds = found.groups.null_worlds(200, seed=1)
    assert worlds.shape == (200, 2)
    np.testing.assert_allclose(worlds.sum(axis=1), 1)
    assert worlds["clean"].mean() == pytest.approx(30 / 120, abs=0.02)
    assert found.groups.shares["clean"] > worlds["clean"].max()
    assert worlds.equals(found.groups.null_worlds(200, seed=1))
    assert not worlds.equals(found.groups.null_worlds(200, seed=2))


def test_a_null_world_is_a_relabelling(vectors):
    found = gengap.coherence(twin.risk_of(vectors), groups=[0] * 5 + [1] * 7)
    total = vectors.sum(0)
    possible = {
        round(vectors[list(rows)].sum(0) @ total / (total @ total), 9)
        for rows in itertools.combinations(range(12), 5)
    }
    assert {round(value, 9) for value in found.groups.null_worlds(40)[0]} <= possible


def test_clean_and_corrupted_examples_of_a_noisy_split():
    split = gaussian_clusters(30, dim=6, num_classes=3, separation=3.0, seed=0)
    noisy = RandomLabels(probability=0.5)(split, seed=0)
    with torch.random.fork_rng(devices=[]):
        model = mlp((6,), 3, hidden=(8,))
    risk = gengap.Risk(model, noisy, dtype=torch.float64)
    found = gengap.coherence(risk, groups="changed")
    same = gengap.coherence(risk, groups=noisy.changed)
    assert list(found.per_group.index) == ["clean", "corrupted"]
    assert list(same.per_group.index) == [False, True]
    np.testing.assert_allclose(found.per_group, same.per_group)
    g = twin.matrix(risk)[noisy.changed.numpy()]
    assert found.per_group.loc["corrupted", "alpha"] == pytest.approx(twin.alpha(g))


def test_wrong_groups_are_told(vectors):
    risk = twin.risk_of(vectors)
    with pytest.raises(ValueError, match=r"one label an example, shape \(12,\); got shape \(3,\)"):
        gengap.coherence(risk, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="or be 'changed'; got 'clean'"):
        gengap.coherence(risk, groups="clean")
    with pytest.raises(ValueError, match="`groups` must be given"):
        gengap.coherence(risk).per_group  # noqa: B018
    with pytest.raises(ValueError, match="`per_class` must be True"):
        gengap.coherence(risk).per_class  # noqa: B018
    with pytest.raises(ValueError, match="`standard_errors` must be True for null worlds"):
        gengap.coherence(risk, groups=GROUPS, standard_errors=False).groups.null_worlds()
    line = gengap.gradients.six_weights()[0]
    with pytest.raises(ValueError, match="must be False for real targets"):
        gengap.coherence(line, per_class=True)
