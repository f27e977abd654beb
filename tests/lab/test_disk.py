"""Property: a disk that takes nothing more is one sentence, and leaves nothing half-written.

Oracle: the fault made here, by a patched system call, or a tiny file system where root may mount.
"""

import errno
import os
import subprocess

import pytest

from gengap._errors import StoreError
from gengap.lab import Lab
from tests.lab.sweep import lab, sweep, untimed

TRIALS = sweep(2, seeds=(0,))


def full(monkeypatch, *, after, code=errno.ENOSPC):
    """Let `after` files be written, then fail half-way through the next, as often as it comes."""
    written = []
    sync = os.fsync

    def fsync(descriptor):
        written.append(descriptor)
        if len(written) > after:
            os.ftruncate(descriptor, 10)
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("after", [0, 1, 3, 6, 9, 14])
def test_a_full_disk_is_one_sentence_and_what_stands_stays(tmp_path, monkeypatch, after, workers):
    trials = sweep(2, seeds=(0, 2)) if workers > 1 else TRIALS
    with monkeypatch.context() as patch:
        full(patch, after=after)
        with pytest.raises(StoreError, match=r"No space left on device\.$") as error:
            lab(tmp_path / "store", workers=workers).run(trials)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.part"))
    store = lab(tmp_path / "store")
    frame = store.run(trials)
    assert frame["status"].eq("stopped").all()
    other = lab(tmp_path / "other")
    other.run(trials)
    assert untimed(store.history(trials)) == untimed(other.history(trials))


def test_a_full_disk_does_not_keep_the_frame_from_being_read(tmp_path, monkeypatch):
    store = lab(tmp_path)
    store.run(TRIALS)
    (tmp_path / "index.parquet").unlink()
    full(monkeypatch, after=0)
    assert len(store.frame()) == 4


def test_a_file_system_that_is_really_full(tmp_path):
    where = tmp_path / "tiny"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(where)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the command mount")
    if done.returncode:
        pytest.skip("may not mount a file system here")
    try:
        with pytest.raises(StoreError, match=r"cannot be written: No space left on device\.$"):
            lab(where / "store").run(sweep(2))
        assert not list(where.rglob("*.part"))
        assert lab(where / "store").frame()["status"].isin(["stopped", "unfinished"]).all()
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"A store must be a folder; `.*notes.txt` is a file\."):
        Lab(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_store_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    store = Lab(tmp_path / "notes.txt" / "store", device="cpu")
    with pytest.raises(StoreError, match=r"notes\.txt") as error:
        store.run(TRIALS)
    assert "\n" not in str(error.value)
    with pytest.raises(StoreError, match=r"cannot be read: Not a directory\.$"):
        store.frame()


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    store = lab(tmp_path / "store")
    full(monkeypatch, after=2, code=errno.EACCES)
    with pytest.raises(StoreError, match=r"cannot be written: Permission denied\.$"):
        store.run(TRIALS)
    assert not list(tmp_path.rglob("*.part"))


def test_an_unknown_kind_of_address_is_refused():
    with pytest.raises(StoreError, match="cannot be opened"):
        Lab("nowhere://store")
