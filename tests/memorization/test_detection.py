"""How well a score finds known examples. Oracles: scikit-learn, DeLong's pairs, leaving one out."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from gengap.memorization import auroc, average_precision, detection


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
        lambda pairs: 0 < sum(hit for _, hit in pairs) < len(pairs)
    )
)
def test_values_are_those_of_scikit_learn_with_ties(pairs):
    scores, positive = (np.array(part) for part in zip(*pairs, strict=True))
    assert average_precision(scores, positive).value == pytest.approx(
        average_precision_score(positive, scores)
    )
    assert auroc(scores, positive).value == pytest.approx(roc_auc_score(positive, scores))


def test_by_hand():
    scores, positive = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
    assert average_precision(scores, positive).value == pytest.approx((1 + 2 / 3) / 2)
    assert auroc(scores, positive).value == 0.75
    assert auroc(scores, positive).standard_error == pytest.approx(0.125**0.5)


def of_all_pairs(scores, positive):
    """DeLong et al. (1988) for one curve."""
    hits, misses = scores[positive], scores[~positive]
    wins = [[1.0 if h > m else 0.5 if h == m else 0.0 for m in misses] for h in hits]
    of_hits = [sum(row) / len(misses) for row in wins]
    of_misses = [sum(column) / len(hits) for column in zip(*wins, strict=True)]
    area = sum(of_hits) / len(hits)
    spreads = (
        sum((v - area) ** 2 for v in part) / (len(part) - 1) / len(part)
        for part in (of_hits, of_misses)
    )
    return np.sqrt(sum(spreads))


@pytest.mark.parametrize(("m", "n"), [(2, 4), (3, 10), (9, 12)])
def test_the_standard_error_of_auroc_is_delongs(m, n):
    draw = np.random.Generator(np.random.Philox(key=11))
    for _ in range(5):
        positive = draw.permutation(n) < m
        scores = draw.integers(5, size=n) + 1.0 * positive
        found = auroc(scores, positive).standard_error
        assert found == pytest.approx(of_all_pairs(scores, positive), abs=1e-12)


def test_one_example_of_a_kind_has_no_standard_error():
    assert np.isnan(auroc(np.arange(4.0), np.array([True, False, False, False])).standard_error)


@pytest.mark.parametrize("m", [2, 4, 20])
def test_the_squared_error_of_auroc_is_its_spread_with_few_positives_too(m):
    draw = np.random.Generator(np.random.Philox(key=8))
    positive = np.arange(200) < m
    found = [auroc(draw.normal(size=200) + 1.5 * positive, positive) for _ in range(2000)]
    expected = np.var([one.value for one in found])
    assert np.mean([one.standard_error**2 for one in found]) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("n", "m"), [(10, 1), (100, 5)])
def test_the_average_precision_of_examples_in_random_order(n, m):
    draw, positive = np.random.Generator(np.random.Philox(key=9)), np.arange(n) < m
    found = [average_precision(draw.random(n), positive).value for _ in range(4000)]
    harmonic = sum(1 / k for k in range(1, n + 1))
    expected = ((m - 1) / (n - 1) * (n - harmonic) + harmonic) / n
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 4000**0.5)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool, list])
def test_the_table_takes_scores_of_any_kind(kind):
    scores = [0, 1, 1] if kind is list else np.array([0, 1, 1]).astype(kind)
    table = detection({"s": scores}, np.array([1, 0, 0]))
    assert table["precision"].tolist() == [0.0]
    assert table["auroc"].tolist() == [0.0]
    with pytest.raises(ValueError, match="a score at least; got none"):
        detection({}, np.array([1, 0, 0]))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("estimator", [average_precision, auroc])
def test_standard_errors_are_those_of_leaving_one_out(estimator, ties):
    draw = np.random.Generator(np.random.Philox(key=3))
    positive = draw.random(600) < 0.2
    scores = draw.normal(size=600) + 1.5 * positive
    scores = np.round(scores, 1) if ties else scores
    left_out = [
        estimator(np.delete(scores, i), np.delete(positive, i)).value for i in range(len(scores))
    ]
    n = len(scores)
    expected = np.sqrt((n - 1) / n * np.square(left_out - np.mean(left_out)).sum())
    assert estimator(scores, positive).standard_error == pytest.approx(expected, rel=0.03)


def test_standard_errors_are_the_spread_over_fresh_examples():
    draw = np.random.Generator(np.random.Philox(key=5))
    found = {average_precision: [], auroc: []}
    for _ in range(300):
        positive = draw.random(400) < 0.15
        scores = draw.normal(size=400) + 2 * positive
        for estimator, values in found.items():
            values.append(estimator(scores, positive))
    for estimates in found.values():
        spread = np.std([e.value for e in estimates])
        assert np.mean([e.standard_error for e in estimates]) == pytest.approx(spread, rel=0.12)


def test_a_perfect_score_has_no_error_and_an_even_one_knows_nothing():
    positive = np.arange(50) < 5
    for estimator, chance in ((average_precision, 0.1), (auroc, 0.5)):
        assert estimator(positive.astype(float), positive).value == 1
        assert estimator(positive.astype(float), positive).standard_error == pytest.approx(0)
        assert estimator(np.zeros(50), positive).value == pytest.approx(chance)


def test_the_table_is_ordered_and_counts_the_top():
    positive = np.array([True, True, False, False])
    scores = {"bad": np.array([1.0, 2, 3, 4]), "good": np.array([4.0, 2, 3, 1])}
    table = detection(scores, positive)
    assert table["score"].tolist() == ["good", "bad"]
    assert table["precision"].tolist() == [0.5, 0.0]
    assert table["auroc"].tolist() == [0.75, 0.0]


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        ([1.0, 2.0], [True], "must be rows of one length"),
        ([1.0, np.nan], [True, False], "must not be NaN; got 1"),
        ([1.0, 2.0], [True, True], "got only positive"),
        ([1.0, 2.0], [False, False], "got only negative"),
    ],
)
def test_what_cannot_be_is_said(scores, positive, message):
    for estimator in (average_precision, auroc):
        with pytest.raises(ValueError, match=message):
            estimator(np.array(scores), np.array(positive))
