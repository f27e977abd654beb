"""Twin: what is gathered equals the lab's own frames; what is missing says why.

The store is damaged by hand in every way a study can meet it.
"""

import json
import math

import pytest

from gengap.corruptions import RandomLabels
from gengap.data import gaussian_clusters
from gengap.lab import Data, Lab, Model, Trial
from gengap.studies import Entry, gather
from gengap.training import Recipe


def entries(lr=0.1):
    halves = [
        gaussian_clusters(30, dim=3, num_classes=2, separation=3.0, seed=0, half=half)
        for half in ("train", "test")
    ]
    return [
        Entry(
            trial=Trial(
                data=Data.of(*halves, name="clusters"),
                model=Model.named("linear"),
                recipe=Recipe(epochs=3, batch_size=10, lr=lr),
                corruption=corruption,
                seed=seed,
            ),
            place={"labels": labels},
        )
        for labels, corruption in (("true", None), ("random", RandomLabels(probability=1.0)))
        for seed in (0, 1)
    ]


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path / "store", lanes=1, workers=1)


def test_rows_and_histories_are_those_of_the_lab(lab):
    asked = entries()
    found = gather(lab, asked)
    trials = [entry.trial for entry in asked]
    frame = lab.frame(trials)
    for column in ("trial", "seed", "status", "train_accuracy", "test_loss", "epoch", "step"):
        assert found.ends[column].tolist() == frame[column].tolist()
    assert found.ends["labels"].tolist() == ["true", "true", "random", "random"]
    history = lab.history(trials)
    assert found.history["train_loss"].tolist() == history["train_loss"].tolist()
    best = history.groupby("trial", sort=False)["test_accuracy"].max()
    assert found.ends["best_test_accuracy"].tolist() == best.tolist()
    assert (found.asked, found.ended) == (4, 4)
    assert found.seconds == pytest.approx(frame["seconds"].sum())


def test_steps_to_fit_are_those_of_the_first_fitted_epoch_or_infinite(lab):
    found = gather(lab, entries())
    for row in found.ends.itertuples():
        own = found.history[found.history["trial"] == row.trial]
        fitted = [s for s, a in zip(own["step"], own["train_accuracy"], strict=True) if a >= 0.99]
        assert row.steps_to_fit == (fitted[0] if fitted else math.inf)


def test_nothing_is_trained_where_only_the_finished_are_asked_for(lab):
    asked = entries()
    assert set(gather(lab, asked, train=False).ends["status"]) == {"not run"}
    assert lab.store.trial_ids() == []
    lab.run([asked[0].trial])
    found = gather(lab, asked, train=False)
    assert found.ends["status"].tolist()[0] in ("fitted", "stopped")
    assert found.ends["status"].tolist()[1:] == ["not run"] * 3
    assert found.ends["train_accuracy"].isna().tolist() == [False, True, True, True]
    assert (found.asked, found.ended) == (4, 1)
    assert set(found.history["seed"]) == {0}


def test_a_trial_in_two_places_is_run_once_and_shown_twice(lab):
    one = entries()[0]
    found = gather(lab, [one, Entry(trial=one.trial, place={"figure": "1"})])
    assert found.asked == 1
    assert found.ends["train_accuracy"].nunique() == 1
    assert found.ends["figure"].tolist()[1] == "1"


def test_failed_unfinished_and_damaged_trials_are_rows(lab):
    asked = entries()
    gather(lab, asked)
    folders = [lab.store.files.local / "trials" / entry.trial.id for entry in asked]
    (folders[0] / "result.json").unlink()
    (folders[1] / "result.json").unlink()
    (folders[1] / "failure.json").write_text(json.dumps({"reason": "it broke"}))
    (folders[2] / "history.parquet").write_bytes(b"PAR1")
    found = gather(lab, asked, train=False)
    assert found.ends["status"].tolist()[:3] == ["unfinished", "failed", "damaged"]
    assert found.ends["reason"].tolist()[1] == "it broke"
    assert len(found.ends["train_accuracy"].dropna()) == 1


def test_a_diverged_trial_has_ended(lab):
    found = gather(lab, entries(lr=1e38))
    assert "diverged" in set(found.ends["status"])
    assert found.ended == 4
