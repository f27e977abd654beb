"""Property: probes are kept beside the histories, and belong to a trial's identity.

Oracle: `fit` of the same run; the stored files read without the library; an undisturbed run.
"""

from dataclasses import replace

import pandas as pd
import pytest

import gengap
from gengap._errors import StoreError
from gengap.training import Probes
from tests.lab.sweep import DIGITS, lab, sweep

PROBES = Probes(coherence=30, examples=True, first_steps=3, growth=2.0, null_worlds=4)
PLAIN = sweep(3, seeds=(0,))
PROBED = [replace(trial, probes=PROBES) for trial in PLAIN]
TABLES = ("coherence", "null_worlds", "examples")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    found = lab(tmp_path_factory.mktemp("store"))
    found.run(PROBED)
    return found


def test_ids_without_probes_are_what_they_were_and_do_not_drift():
    assert PLAIN[1].id == "10d7657acce30f84198f"
    assert "probes" not in PLAIN[1].spec
    first = replace(PROBED[1], probes=replace(PROBES, null_worlds=0))
    assert first.id == "fbb051c0ec632bbd4632"
    assert replace(PROBED[1], probes=None).id == PLAIN[1].id


def test_any_field_of_the_probes_changes_the_id_and_the_lanes():
    others = [
        None,
        Probes(),
        replace(PROBES, coherence=31),
        replace(PROBES, examples=False),
        replace(PROBES, every=2),
        replace(PROBES, growth=3.0),
        replace(PROBES, first_steps=4),
        replace(PROBES, null_worlds=5),
    ]
    trials = [replace(PROBED[0], probes=probes) for probes in [PROBES, *others]]
    assert len({trial.id for trial in trials}) == len({t.lane_key for t in trials}) == 9
    assert PROBED[0].lane_key == PROBED[1].lane_key
    assert [t.sibling(t.spec).probes for t in trials] == [t.probes for t in trials]


@pytest.mark.parametrize("place", [0, 1])
def test_what_is_kept_is_what_fit_measures(store, place):
    trial = PROBED[place]
    twin = gengap.fit(
        trial.builder(), trial.splits()[0], recipe=trial.recipe, seed=trial.seed, probes=PROBES
    )
    pd.testing.assert_frame_equal(store.examples(trial), twin.examples, rtol=1e-4, atol=1e-6)
    found = store.coherence([trial])
    assert set(found.pop("trial")) == {trial.id}
    pd.testing.assert_frame_equal(found, twin.coherence, rtol=1e-4)
    null = store.null_worlds([trial]).drop(columns="trial")
    pd.testing.assert_frame_equal(null, twin.null_worlds, rtol=1e-4)
    history = store.history([trial])
    whole = found[(found["layer"] == "") & (found["group"] == "all")].set_index("step")
    assert history["m_coherence"].tolist() == whole.loc[history["step"], "m_coherence"].tolist()


def test_the_files_can_be_read_without_the_library(store):
    for name in TABLES:
        file = store.store.files.local / "trials" / PROBED[1].id / f"{name}.parquet"
        found = pd.read_parquet(file)
        kept = {
            "coherence": store.coherence([PROBED[1]]).drop(columns="trial"),
            "null_worlds": store.null_worlds([PROBED[1]]).drop(columns="trial"),
            "examples": store.examples(PROBED[1].id),
        }
        assert len(found)
        pd.testing.assert_frame_equal(found, kept[name])


def test_null_worlds_are_of_trials_with_clean_and_corrupted_examples(store):
    assert set(PROBED[0].splits()[0].changed.tolist()) == {False}
    assert store.null_worlds([PROBED[0]]).empty
    both = store.null_worlds(PROBED[:2])
    assert set(both["trial"]) == {PROBED[1].id}
    assert [both[name].dtype.kind for name in ("step", "world", "share")] == ["i", "i", "f"]


def test_a_lost_table_is_told(store, tmp_path):
    other = lab(tmp_path)
    other.run(PROBED[:1])
    for name in TABLES:
        (tmp_path / "trials" / PROBED[0].id / f"{name}.parquet").unlink()
    with pytest.raises(StoreError, match="coherence"):
        other.coherence()
    with pytest.raises(StoreError, match="examples"):
        other.examples(PROBED[0])


def test_trials_without_probes_have_none(tmp_path):
    without = lab(tmp_path)
    without.run([PLAIN[0], PROBED[0]])
    assert set(without.coherence()["trial"]) == {PROBED[0].id}
    assert without.coherence([PLAIN[0]]).empty
    assert list(without.coherence([PLAIN[0]])) == list(without.coherence())
    for trial in (PLAIN[0], PROBED[1]):
        with pytest.raises(StoreError, match="follow its examples"):
            without.examples(trial)
    files = {path.name for path in (tmp_path / "trials" / PLAIN[0].id).iterdir()}
    assert files == {"trial.json", "history.parquet", "weights.safetensors", "result.json"}


def test_tables_of_no_trial_have_the_columns_and_types_of_others(store):
    for table in ("coherence", "null_worlds"):
        empty = getattr(store, table)([PLAIN[0]])
        some = getattr(store, table)([PROBED[1]])
        assert empty.empty and not some.empty
        assert empty.dtypes.to_dict() == some.dtypes.to_dict()
    history, some = store.history([]), store.history([PROBED[1]])
    assert history.dtypes.to_dict() == some.dtypes[list(history)].to_dict()


def test_a_resumed_sweep_gives_the_same_tables(store, tmp_path, monkeypatch):
    killed = lab(tmp_path)
    epoch = gengap.training.Trainer._epoch

    def stops(self, on_end):
        if self.epoch == 2:
            raise KeyboardInterrupt
        epoch(self, on_end)

    monkeypatch.setattr("gengap.lab._group._CHECKPOINT_SHARE", 1e9)  # however slow the disk is
    with monkeypatch.context() as patched:
        patched.setattr(gengap.training.Trainer, "_epoch", stops)
        with pytest.raises(KeyboardInterrupt):
            killed.run(PROBED)
    assert killed.coherence().empty
    restored = []
    restore = gengap.training.Trainer.restore
    monkeypatch.setattr(
        gengap.training.Trainer,
        "restore",
        lambda self, *saved: restored.append(saved[1]["epoch"]) or restore(self, *saved),
    )
    killed.run(PROBED)
    assert restored and restored[0] >= 1
    for trial in PROBED:
        assert killed.examples(trial).to_csv() == store.examples(trial).to_csv()
    assert killed.coherence(PROBED).to_csv() == store.coherence(PROBED).to_csv()


def test_examples_of_a_data_set_keep_their_rows(store):
    assert store.examples(PROBED[0])["example"].tolist() == list(range(len(DIGITS.load()[0])))
