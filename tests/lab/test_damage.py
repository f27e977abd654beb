"""Property: a damaged file is one sentence that names it, and harms no other trial.

Oracle: the damage done here; a store that was not disturbed.
"""

import json
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import save

from gengap._errors import StoreError
from gengap.lab import Store, train_group
from tests.lab.sweep import lab, sweep, untimed

TRIALS = sweep(2, seeds=(0,))
VICTIM = TRIALS[1].id


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab") / "store"
    lab(folder).run(TRIALS)
    return folder


@pytest.fixture
def store(undisturbed, tmp_path):
    return shutil.copytree(undisturbed, tmp_path / "store")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def one_sentence(error, path):
    text = str(error.value)
    return str(path) in text and "\n" not in text and text.endswith(".")


DAMAGE = {
    "cut result": ("result.json", cut),
    "empty result": ("result.json", lambda path: path.write_bytes(b"")),
    "bytes for a result": ("result.json", lambda path: path.write_bytes(b"\xff\x00\xfe")),
    "a list for a result": ("result.json", lambda path: path.write_text("[1]")),
    "a result without numbers": ("result.json", lambda path: edit(path, final=3)),
    "a result of words": ("result.json", lambda path: edit(path, final={"train_loss": "low"})),
    "cut specification": ("trial.json", cut),
    "another seed": ("trial.json", lambda path: edit(path, seed=99)),
    "a seed in words": ("trial.json", lambda path: edit(path, seed="one")),
    "no specification": ("trial.json", lambda path: path.write_text("null")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_trial_stops_a_run_and_is_a_row(store, name):
    file, damage = DAMAGE[name]
    before = lab(store).frame().set_index("trial")
    path = store / "trials" / VICTIM / file
    damage(path)
    with pytest.raises(StoreError) as error:
        lab(store).run(TRIALS)
    assert one_sentence(error, path)
    after = lab(store).frame().set_index("trial")
    assert after.loc[VICTIM, "status"] == "damaged"
    assert str(path) in after.loc[VICTIM, "reason"]
    others = [trial.id for trial in TRIALS if trial.id != VICTIM]
    pd.testing.assert_frame_equal(
        after.loc[others, before.columns], before.loc[others], check_dtype=False
    )
    lab(store).run([trial for trial in TRIALS if trial.id != VICTIM])
    shutil.rmtree(store / "trials" / VICTIM)  # what the sentence says to do
    assert lab(store).run(TRIALS)["status"].eq("stopped").all()


@pytest.mark.parametrize("file", ["history.parquet", "weights.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_table_or_weights_cut_off_are_named_when_read(store, file, share):
    path = store / "trials" / VICTIM / file
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    read = lab(store).history if file.startswith("history") else lab(store).model
    with pytest.raises(StoreError) as error:
        read([TRIALS[1]] if file.startswith("history") else TRIALS[1])
    assert one_sentence(error, path)
    read([TRIALS[0]] if file.startswith("history") else TRIALS[0])


def test_weights_of_another_network_are_refused(store):
    path = store / "trials" / VICTIM / "weights.safetensors"
    Store(store).files.write(f"trials/{VICTIM}/weights.safetensors", save({}))
    assert path.exists()
    with pytest.raises(StoreError, match="names or shapes"):
        lab(store).model(TRIALS[1])


def test_a_missing_file_is_named(store):
    path = store / "trials" / VICTIM / "history.parquet"
    path.unlink()
    with pytest.raises(StoreError) as error:
        lab(store).history()
    assert one_sentence(error, path)


@pytest.mark.parametrize(
    "content", [b"", b"x" * 100, None], ids=["empty", "nonsense", "another table"]
)
def test_a_damaged_index_is_rebuilt(store, content):
    before = lab(store).frame()
    path = store / "index.parquet"
    if content is None:
        before.drop(columns="trial").to_parquet(path)
    else:
        path.write_bytes(content)
    assert lab(store).frame().equals(before)
    assert path.read_bytes() != content


@pytest.mark.parametrize("content", ["", "[", "7", '{"a": 1}', "[[1]]", '["another"]', "null"])
def test_a_damaged_record_of_a_group_is_written_again(tmp_path, undisturbed, content):
    store = lab(tmp_path)
    (group,) = store._plan(TRIALS)
    (tmp_path / "groups" / group.id / "group.json").write_text(content)
    store.run(TRIALS)
    assert untimed(store.history(TRIALS)) == untimed(lab(undisturbed).history(TRIALS))


def interrupted(folder):
    """Leave a store with a group at a checkpoint; returns the group."""
    store = lab(folder)
    (group,) = store._plan(TRIALS)

    def stop(progress):
        if progress.epoch == 1:
            raise KeyboardInterrupt

    import gengap.lab._group as module

    rate, module._PROGRESS_SECONDS = module._PROGRESS_SECONDS, 0.0
    try:
        with pytest.raises(KeyboardInterrupt):
            train_group(
                store.store,
                group,
                device=torch.device("cpu"),
                report=stop,
                checkpoint_seconds=0.0,
            )
    finally:
        module._PROGRESS_SECONDS = rate
    assert (folder / "groups" / group.id / "checkpoint.safetensors").exists()
    return group


def test_an_interrupted_trial_is_a_row_that_is_unfinished(tmp_path):
    interrupted(tmp_path)
    assert lab(tmp_path).frame(TRIALS)["status"].eq("unfinished").all()
    assert len(lab(tmp_path).history()) == 0


@pytest.mark.parametrize("damage", [cut, lambda p: p.write_bytes(b""), "empty", "strange"])
def test_a_damaged_checkpoint_counts_as_none(tmp_path, undisturbed, damage):
    group = interrupted(tmp_path)
    path = tmp_path / "groups" / group.id / "checkpoint.safetensors"
    if isinstance(damage, str):
        plain = {} if damage == "empty" else {"epoch": 1, "step": 7, "seconds": 0, "active": [9]}
        Store(tmp_path).save_checkpoint(group.id, {"x": torch.zeros(2)}, plain)
    else:
        damage(path)
    store = lab(tmp_path)
    store.run(TRIALS)
    assert untimed(store.history(TRIALS)) == untimed(lab(undisturbed).history(TRIALS))


def test_what_a_killed_process_left_half_written_is_swept(tmp_path):
    group = interrupted(tmp_path)
    left = [
        tmp_path / "trials" / VICTIM / "history.parquet.1234abcd.part",
        tmp_path / "groups" / group.id / "checkpoint.safetensors.1234abcd.part",
    ]
    for path in left:
        path.write_bytes(b"half")
    lab(tmp_path).run(TRIALS)
    assert not list(tmp_path.rglob("*.part"))


def test_a_trial_edited_while_it_is_not_complete_is_refused(tmp_path):
    interrupted(tmp_path)
    path = tmp_path / "trials" / VICTIM / "trial.json"
    edit(path, seed=9)
    with pytest.raises(StoreError, match="it was edited") as error:
        lab(tmp_path).run(TRIALS)
    assert one_sentence(error, path)
