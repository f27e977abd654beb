"""Property: what a lab runs, keeps and gives back.

Oracle: counts of trainings, the stored files read without the library, `fit` of the same run.
"""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import gengap
import gengap.lab._group
from gengap._errors import StoreError
from gengap.corruptions import RandomLabels
from gengap.data import Split
from gengap.lab import Data, Engine, Group, Lab, LocalEngine, Model, Trial, train_group
from gengap.training import pick_device
from tests.lab.sweep import DIGITS, MLP, lab, sweep, untimed

SHORT = sweep(2, seeds=(0,))


@pytest.fixture
def trainings(monkeypatch):
    """The number of lanes of every program that was trained in this process."""
    counts = []
    make = gengap.lab._group.make_trainer

    def counted(build, lanes, **options):
        counts.append(len(lanes))
        return make(build, lanes, **options)

    monkeypatch.setattr(gengap.lab._group, "make_trainer", counted)
    return counts


def test_every_trial_gets_a_row_in_the_order_asked_for(tmp_path):
    frame = lab(tmp_path).run(SHORT)
    assert frame["trial"].tolist() == [trial.id for trial in SHORT]
    assert frame["status"].eq("stopped").all()
    assert frame["seed"].tolist() == [trial.seed for trial in SHORT]
    assert frame["corruption"].tolist()[:2] == ["none", "RandomLabels(probability=0.5)"]
    assert frame["recipe.lr"].tolist() == [trial.recipe.lr for trial in SHORT]


def test_the_files_of_a_trial_can_be_read_without_the_library(tmp_path):
    store = lab(tmp_path)
    row = store.run(SHORT).iloc[1]
    folder = tmp_path / "trials" / SHORT[1].id
    assert json.loads((folder / "trial.json").read_text()) == SHORT[1].spec
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["reason"]) == (row["status"], row["reason"])
    history = pd.read_parquet(folder / "history.parquet")
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["train_loss"].iloc[-1] == result["final"]["train_loss"] == row["train_loss"]
    weights = load_file(folder / "weights.safetensors")
    model = store.model(SHORT[1])
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_what_is_left_is_trials_and_index_only(tmp_path):
    lab(tmp_path).run(SHORT)
    files = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"trials", "index.parquet", "locks"}
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["plan.lock"]


def test_a_trial_equals_the_same_run_of_fit(tmp_path):
    trial = SHORT[1]
    store = lab(tmp_path)
    store.run([trial])
    train, test = gengap.load("digits")
    train = DIGITS.load()[0]
    noisy = RandomLabels(probability=0.5)(train, seed=0)
    model = gengap.models.mlp
    run = gengap.fit(
        lambda: model(train.input_shape, 10, hidden=(16,)),
        noisy,
        test=RandomLabels(probability=0.5)(test, seed=0),
        recipe=trial.recipe,
        device="cpu",
    )
    columns = ["train_loss", "train_accuracy", "test_accuracy", "corrupted_accuracy"]
    pd.testing.assert_frame_equal(store.history([trial])[columns], run.history[columns])


def test_the_trained_network_has_the_accuracy_of_the_last_row(tmp_path):
    store = lab(tmp_path)
    row = store.run(SHORT[1:2]).iloc[0]
    train, _ = SHORT[1].splits()
    x, y = train.batch(torch.arange(len(train)))
    with torch.no_grad():
        right = store.model(SHORT[1])(x).argmax(1).eq(y).double().mean()
    assert right.item() == pytest.approx(row["train_accuracy"], abs=1e-12)


def test_a_complete_trial_never_runs_again(tmp_path, trainings):
    store = lab(tmp_path)
    first = store.run(SHORT)
    assert trainings == [4]
    pd.testing.assert_frame_equal(lab(tmp_path).run(SHORT), first)
    assert trainings == [4]


def test_more_trials_later_leave_the_old_alone(tmp_path, trainings):
    store = lab(tmp_path)
    store.run(SHORT)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*")}
    frame = store.run([*SHORT, *sweep(2, seeds=(2,))])
    assert trainings == [4, 4]
    assert len(frame) == 8
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_trial_named_twice_runs_once(tmp_path, trainings):
    frame = lab(tmp_path).run([SHORT[0], SHORT[0]])
    assert trainings == [1]
    assert len(frame) == 1


def test_history_puts_all_trials_one_under_the_other(tmp_path):
    store = lab(tmp_path)
    store.run(SHORT)
    every = store.history()
    assert every.groupby("trial").size().to_dict() == {trial.id: 3 for trial in SHORT}
    one = store.history([SHORT[2].id])
    assert set(one["trial"]) == {SHORT[2].id}
    assert untimed(one) == untimed(store.history([SHORT[2]]))


def test_an_empty_store_has_no_rows_and_is_not_made(tmp_path):
    store = Lab(tmp_path / "none")
    assert len(store.frame()) == len(store.history()) == len(store.run([])) == 0
    row = store.frame(SHORT[:1]).iloc[0]
    assert (row["trial"], row["status"]) == (SHORT[0].id, "unfinished")
    with pytest.raises(StoreError, match="must be complete to have a network"):
        store.model(SHORT[0])


def test_a_diverged_trial_is_complete(tmp_path, trainings):
    trial = replace(SHORT[0], recipe=replace(SHORT[0].recipe, lr=1e12))
    store = lab(tmp_path)
    row = store.run([trial]).iloc[0]
    assert row["status"] == "diverged"
    assert "step" in row["reason"]
    store.run([trial])
    assert trainings == [1]


class Failing(nn.Module):
    broken = True

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x):
        if self.broken:
            raise RuntimeError("no power")
        return self.layer(x)


def test_a_failed_trial_is_a_row_and_is_tried_again(tmp_path, monkeypatch):
    inputs = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=inputs, targets=torch.arange(12) % 3, num_classes=3)
    trials = [
        Trial(
            data=Data.of(split, None),
            model=Model.of(Failing),
            recipe=gengap.Recipe(epochs=1),
            seed=seed,
        )
        for seed in (0, 1)
    ]
    store = lab(tmp_path)
    frame = store.run([*SHORT[:1], *trials])
    assert frame["status"].tolist() == ["stopped", "failed", "failed"]
    assert "RuntimeError: no power" in frame["reason"].iloc[1]
    assert store.run(trials)["status"].eq("failed").all()
    monkeypatch.setattr(Failing, "broken", False)
    assert store.run(trials)["status"].eq("stopped").all()
    assert not list(tmp_path.rglob("failure.json"))
    assert list((tmp_path / "groups").iterdir()) == []


def test_trials_of_several_data_sets_and_networks_run_together(tmp_path, trainings):
    others = [
        Trial(data=DIGITS, model=Model.named("linear"), recipe=gengap.Recipe(epochs=1), seed=seed)
        for seed in (0, 1)
    ]
    fewer = [replace(trial, data=Data.named("digits", examples=100)) for trial in SHORT]
    frame = lab(tmp_path).run([*SHORT, *others, *fewer])
    assert sorted(trainings) == [2, 4, 4]
    assert frame["examples"].tolist() == [200] * 6 + [100] * 4


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_does_not_touch_the_bits(tmp_path, workers):
    trials = sweep(2)
    alone = lab(tmp_path / "one")
    alone.run(trials)
    several = lab(tmp_path / "several", workers=workers)
    several.run(trials)
    assert untimed(several.history(trials)) == untimed(alone.history(trials))


def test_groups_are_of_even_size_and_follow_the_order():
    store = lab("memory://even", lanes=5)
    groups = store._packed(sweep(2))
    assert [len(group.trials) for group in groups] == [4, 4, 4]
    assert [t.id for group in groups for t in group.trials] == [t.id for t in sweep(2)]


def test_a_recorded_group_trains_whole_when_only_a_part_is_asked_for(tmp_path, trainings):
    store = lab(tmp_path)
    (group,) = store._plan(SHORT)
    for trial in SHORT:
        store.store.begin(trial)
    frame = lab(tmp_path).run(SHORT[1:3])
    assert frame["status"].tolist() == ["stopped"] * 2
    assert trainings == [4]
    assert lab(tmp_path).frame(SHORT)["status"].eq("stopped").all()
    assert not store.store.is_recorded(group.id)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_plan_cut_off_is_finished_as_it_was(tmp_path, monkeypatch, after):
    expected = {group.id for group in Lab(tmp_path / "whole", device="cpu")._plan(SHORT)}
    assert len(expected) == 2  # what is left of a half-recorded plan would be packed otherwise
    store = Lab(tmp_path / "cut", device="cpu")
    record, recorded = store.store.record_group, []

    def cut_off(group, trials):
        if len(recorded) == after:
            raise KeyboardInterrupt
        recorded.append(group)
        record(group, trials)

    monkeypatch.setattr(store.store, "record_group", cut_off)
    if after < 2:
        with pytest.raises(KeyboardInterrupt):
            store._plan(SHORT)
    else:
        store._plan(SHORT)
    again = Lab(tmp_path / "cut", device="cpu")
    assert {group.id for group in again._plan(SHORT)} == expected
    assert not (tmp_path / "cut" / "plan.json").exists()


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 3}', "null"])
def test_a_damaged_plan_is_made_again(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    assert lab(tmp_path).run(SHORT)["status"].eq("stopped").all()
    assert not (tmp_path / "plan.json").exists()


def test_a_recorded_group_that_nobody_began_is_dissolved(tmp_path, trainings):
    store = lab(tmp_path)
    (group,) = store._plan(SHORT)
    lab(tmp_path).run(SHORT[1:3])
    assert trainings == [2]
    assert not train_group(store.store, group, device=pick_device("cpu"))
    assert trainings == [2]


@pytest.mark.parametrize("address", ["memory://lab-of-a-test", "file"])
def test_any_address_of_fsspec_is_a_store(address, tmp_path):
    store = lab(f"file://{tmp_path}/store" if address == "file" else address)
    frame = store.run(SHORT)
    assert frame["status"].eq("stopped").all()
    assert len(store.history()) == 12
    assert store.store.groups() == {}
    pd.testing.assert_frame_equal(lab(store.store.files.root).frame(), store.frame()) if (
        address == "file"
    ) else None
    local = lab(tmp_path / "local")
    local.run(SHORT)
    assert untimed(store.history(SHORT)) == untimed(local.history(SHORT))
    assert store.model(SHORT[0]) is not None


def test_torch_threads_are_as_they_were(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        lab(tmp_path).run(SHORT)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_progress_ends_with_all_trials(tmp_path):
    seen = []
    lab(tmp_path).run(SHORT, progress=seen.append)
    assert (seen[-1].finished, seen[-1].trials, seen[-1].epoch) == (4, 4, 2)


def test_another_engine_slides_in(tmp_path):
    class Reversed(Engine):
        def run(self, store, groups, *, device, report):
            for group in reversed(groups):
                assert isinstance(group, Group)
                train_group(store, group, device=device, report=report)

    store = Lab(tmp_path, engine=Reversed(), device="cpu", lanes=4)
    assert store.run(SHORT)["status"].eq("stopped").all()
    local = lab(tmp_path / "local")
    local.run(SHORT)
    assert untimed(store.history(SHORT)) == untimed(local.history(SHORT))


@pytest.mark.parametrize(
    "options", [{"engine": "slurm"}, {"lanes": 0}, {"workers": 0}, {"device": "tpu"}], ids=str
)
def test_wrong_options_are_refused(tmp_path, options):
    with pytest.raises((ValueError, RuntimeError)):
        Lab(tmp_path, **options)


def test_a_local_engine_needs_a_worker():
    with pytest.raises(ValueError, match="`workers` must be a whole number of at least 1"):
        LocalEngine(0)


def test_the_repr_says_where_and_how_many(tmp_path):
    store = lab(tmp_path)
    store.run(SHORT)
    assert repr(store) == f"Lab('{tmp_path}', 4 trials)"
    assert MLP.spec["name"] in repr(SHORT[0])


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    """Looking at a store before a run sweeps nothing: the trial may be another process's."""
    trial = SHORT[0]
    store = Lab(tmp_path, workers=1)
    store.store.begin(trial)
    half = tmp_path / "trials" / trial.id / "history.parquet.7.part"
    half.write_bytes(b"half")
    store._check([trial])
    assert half.exists()
    store.store.begin(trial)  # by whoever holds the group
    assert not half.exists()
