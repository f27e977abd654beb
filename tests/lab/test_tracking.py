"""Property: trackers are shown each complete trial once. Oracle: the store."""

import sys

import pytest

from gengap._errors import StoreError
from gengap.cli import main
from gengap.lab import Lab, LocalEngine, Tracked, Tracker
from tests.lab.sweep import sweep


class Notebook(Tracker):
    """Notes what it is shown; refuses as often as it is told to."""

    name = "notebook"

    def __init__(self, refusals=0):
        self.seen, self.refusals, self.times = [], refusals, 0

    def known(self):
        return {trial.trial for trial in self.seen}

    def log(self, trial):
        self.times += 1
        if self.times <= self.refusals:
            raise ConnectionError("nobody answers")
        self.seen.append(trial)


def trials(epochs=3):
    return sweep(epochs, seeds=(0, 1))


def lab(folder, tracker, workers=1):
    engine = LocalEngine(workers, checkpoint_seconds=0.0)
    return Lab(folder, engine=engine, device="cpu", lanes=2, track=tracker)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_trial_is_shown_once_as_the_store_has_it(tmp_path, workers):
    book = Notebook()
    ours = lab(tmp_path, book, workers)
    frame = ours.run(trials()).set_index("trial")
    assert sorted(t.trial for t in book.seen) == sorted(frame.index)
    for shown in book.seen:
        row = frame.loc[shown.trial]
        assert shown.result["status"] == row["status"]
        assert shown.final == row[list(shown.result["final"])].dropna().to_dict()
        assert shown.parameters["recipe.lr"] == row["recipe.lr"]
        assert shown.parameters["corruption"] == row["corruption"]
        history = ours.store.history(shown.trial)
        assert [step for step, _, _ in shown.rows] == history["step"].tolist()
        clocks = [clock for _, clock, _ in shown.rows]
        assert clocks == sorted(clocks)
        last = shown.rows[-1][2]
        assert {**last, "step": history["step"].iloc[-1]} == shown.final


def test_trials_are_shown_as_they_end_not_only_at_the_end(tmp_path):
    book, counts = Notebook(), []
    lab(tmp_path, book).run(trials(), progress=lambda progress: counts.append(len(book.seen)))
    assert 0 < counts[-1] < 8


def test_a_resumed_sweep_shows_nothing_twice_and_what_was_missed(tmp_path):
    class Enough(BaseException):
        pass

    def stop(progress):
        if progress.finished == 2 and len(book.seen) >= 2:
            raise Enough

    book = Notebook()
    with pytest.raises(Enough):
        lab(tmp_path, book).run(trials(), progress=stop)
    shown = len(book.seen)
    assert 0 < shown < 8
    for _ in range(2):
        lab(tmp_path, book).run(trials())
        assert len(book.seen) == len(book.known()) == 8


def test_a_finished_sweep_is_shown_to_a_tracker_that_comes_later(tmp_path):
    lab(tmp_path, None).run(trials())
    book = Notebook()
    lab(tmp_path, book).run(trials()[:3])
    assert book.known() == {trial.id for trial in trials()[:3]}


def test_a_tracker_that_is_down_for_a_while_costs_nothing(tmp_path):
    book = Notebook(refusals=2)
    lab(tmp_path, book).run(trials())
    assert len(book.seen) == len(book.known()) == 8


def test_a_tracker_that_stays_down_costs_no_trial(tmp_path):
    book = Notebook(refusals=10**6)
    with pytest.raises(StoreError, match="'notebook' cannot show trials: ConnectionError: nobody"):
        lab(tmp_path, book).run(trials())
    assert len(Lab(tmp_path).run(trials()).query("status != 'unfinished'")) == 8


@pytest.mark.global_rng("random")
def test_a_missing_package_is_told_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gengap.lab._wandb", None)
    with pytest.raises(ImportError, match=r"`track='wandb'` needs the package .*gengap\[wandb\]"):
        Lab(tmp_path / "runs", track="wandb")
    assert main(["audit", "--track", "wandb", "--out", str(tmp_path / "runs")]) == 2
    assert "pip install 'gengap[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_tracker_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`track` must be one of"):
        Lab(tmp_path, track="paper")


def test_what_is_tracked_is_read_only():
    with pytest.raises(AttributeError):
        Tracked(trial="a", spec={}, result={}, history=None).trial = "b"
