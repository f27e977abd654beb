"""Property: labels are ranked by classifiers of scikit-learn and skorch, and shown."""

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC
from torch import nn

import gengap
from gengap.cli import main
from gengap.corruptions import RandomLabels
from gengap.data import as_split, gaussian_clusters

SPLIT = gaussian_clusters(90, dim=4, num_classes=3, separation=4.0, seed=0)
NOISY = RandomLabels(probability=0.2)(SPLIT, seed=0)


def test_changed_labels_come_first_and_the_page_says_how(tmp_path):
    found = gengap.labels(GaussianNB(), NOISY, seeds=2)
    assert found.evaluation["average_precision"].iloc[0] > 0.9
    first = found.ranking[: int(NOISY.changed.sum())]
    assert first["changed"].mean() > 0.8
    assert found.trials["held_out_accuracy"].between(0.5, 1).all()
    page = found.save(tmp_path / "report.html").read_text()
    assert "fitted without one fold" in page
    assert "over training" not in page
    assert "GaussianNB" in found._repr_html_() + page


@pytest.mark.parametrize(
    ("folds", "used", "why"),
    [(5, 2, ", as the rarest label has 2 examples."), (2, 2, ".")],
)
def test_the_number_of_fits_is_said_as_it_was(folds, used, why):
    fits = []

    class Counted(GaussianNB):
        def fit(self, x, y):
            fits.append(len(x))
            return super().fit(x, y)

    y = np.array([0, 1] * 19 + [2] * 2)
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    found = gengap.labels(Counted(), as_split(x, y), folds=folds)
    assert len(fits) == used == found.specification["folds"]
    assert found.trials["reason"][0] == f"Fitted {used} times, each time without a fold{why}"


@pytest.mark.parametrize("seeds", [np.int64(2), np.arange(2), range(2)])
def test_seeds_may_be_numbers_of_numpy(seeds):
    found = gengap.labels(GaussianNB(), NOISY, seeds=seeds)
    assert json.dumps(found.specification["seeds"]) == "[0, 1]"


def test_arrays_are_taken_and_the_estimator_is_left_alone():
    model = RandomForestClassifier(5)
    arrays = NOISY.inputs.numpy(), NOISY.targets.numpy()
    one, two = (gengap.labels(model, arrays).ranking for _ in range(2))
    assert one.equals(two)
    assert not hasattr(model, "classes_")
    assert model.random_state is None


@pytest.mark.parametrize("estimator", [SVC(), LinearRegression()])
def test_an_estimator_without_probabilities_is_refused(estimator):
    with pytest.raises(ValueError, match="`model` must have predict_proba where it is an estim"):
        gengap.labels(estimator, NOISY)


@pytest.mark.parametrize("by", ["learning_time", "error_norm"])
def test_scores_of_training_are_refused(by):
    with pytest.raises(ValueError, match="`by` must be one of"):
        gengap.labels(GaussianNB(), NOISY, by=by)


@pytest.mark.global_rng("random")
def test_a_classifier_on_the_command_line(tmp_path, capsys):
    words = ["labels", "--model", "sklearn.linear_model:LogisticRegression", "--model-options"]
    words += ["max_iter=50", "tol=0.1", "--examples", "150", "--noise", "0.1", "--seeds", "1"]
    code = main([*words, "--folds", "3", "--out", str(tmp_path), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert code == 0
    assert shown["specification"]["model"]["options"]["max_iter"] == "50"
    assert shown["evaluation"][0]["average_precision"] > 0.4
    assert len(shown["suspicious"]) == 24
    assert shown["runs"][0]["held_out_accuracy"] > 0.6
    x = gengap.load("digits")[0]
    assert LogisticRegression().max_iter == 100
    assert len(x) > 150


@pytest.mark.global_rng
def test_a_network_of_skorch_is_named():
    skorch = pytest.importorskip("skorch")
    shape = {"module__in_features": 4, "module__out_features": 3}
    net = skorch.NeuralNetClassifier(
        nn.Linear, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0, **shape
    )
    assert gengap.labels(net, SPLIT, folds=2).model_name == "NeuralNetClassifier"
