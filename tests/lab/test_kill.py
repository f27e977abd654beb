"""Property: what is killed goes on and ends as if nothing had happened; nothing is left behind.

Oracle: an undisturbed run; /proc for processes that outlive their parent.
"""

import os
import random
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

import gengap.lab._store
from tests.lab.sweep import lab, sweep, untimed

FORK = get_context("fork")
TRIALS = sweep(12)
SHORT = sweep(4, seeds=(0,))


def run(folder, workers=1, trials=TRIALS):
    os.setsid()  # a group of its own, to be interrupted and looked for
    lab(folder, workers=workers).run(trials)


def started(*arguments):
    process = FORK.Process(target=run, args=arguments)
    process.start()
    return process


def wait_for(condition, seconds=120.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)


def checkpoints(folder):
    return list(folder.glob("groups/*/checkpoint.safetensors"))


def descendants(session):
    """The processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rsplit(")", 1)[1].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(sid) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def is_free(store, name):
    with store.claimed(name) as free:
        return free


def outcome(folder):
    """Everything that a sweep gave but the times."""
    store = lab(folder)
    frame = store.frame(TRIALS).drop(columns="seconds").to_csv(index=False)
    weights = {
        trial.id: {k: v.numpy().tobytes() for k, v in store.store.weights(trial.id).items()}
        for trial in TRIALS
    }
    return frame, untimed(store.history(TRIALS)), weights


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill") / "store"
    began = time.monotonic()
    run_here = lab(folder)
    run_here.run(TRIALS)
    return outcome(folder), time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_killed_five_times_gives_the_same_bits(tmp_path, undisturbed, workers):
    expected, seconds = undisturbed
    moments = random.Random(workers)
    kills = 0
    for _ in range(5):
        process = started(tmp_path, workers)
        process.join(moments.uniform(0.02, 0.15) * seconds)
        kills += process.is_alive()
        process.kill()
        process.join()
        wait_for(lambda session=process.pid: not descendants(session))
    assert kills >= 3
    lab(tmp_path, workers=workers).run(TRIALS)
    assert outcome(tmp_path) == expected
    assert list((tmp_path / "groups").iterdir()) == []
    assert not list(tmp_path.glob("trials/*/*.part"))


def killed_at_write(folder, number):
    """Run in a process that kills itself in the middle of a write."""
    written = []
    sync = os.fsync

    def fsync(descriptor):
        written.append(descriptor)
        if len(written) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = fsync
    lab(folder).run(SHORT)


@pytest.mark.slow
def test_killed_at_any_write_of_files_it_goes_on(tmp_path):
    whole = lab(tmp_path / "whole")
    whole.run(SHORT)
    expected = untimed(whole.history(SHORT))
    ended = []
    for number in range(1, 30):
        folder = tmp_path / str(number)
        process = FORK.Process(target=killed_at_write, args=(folder, number))
        process.start()
        process.join()
        ended.append(process.exitcode)
        if process.exitcode == 0:
            break
        store = lab(folder)
        store.frame()
        store.run(SHORT)
        assert untimed(store.history(SHORT)) == expected
        assert not list(folder.glob("trials/*/*.part"))
    assert set(ended[:-1]) == {-signal.SIGKILL}
    assert len(ended) > 15  # group, specifications, checkpoints, tables, weights, results


def test_checkpoints_are_used(tmp_path):
    trials = sweep(400, seeds=(0,))
    process = started(tmp_path, 1, trials)
    store = lab(tmp_path).store

    def epoch():
        for group in store.groups():
            _, plain = store.checkpoint(group) or (None, {"epoch": 0})
            return plain["epoch"]
        return 0

    wait_for(lambda: epoch() >= 5)
    process.kill()
    process.join()
    reached = epoch()
    seen = []

    def first(progress):
        seen.append(progress.epoch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab(tmp_path).run(trials, progress=first)
    assert seen == [reached + 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_at_once_and_leaves_no_process(tmp_path, workers):
    trials = sweep(2000)
    process = started(tmp_path, workers, trials)
    wait_for(lambda: len(checkpoints(tmp_path)) >= workers)
    os.killpg(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 1
    assert descendants(process.pid) == []
    assert lab(tmp_path).frame(trials)["status"].eq("unfinished").sum() >= 8
    with lab(tmp_path).store.claimed("plan") as free:
        assert free


def test_only_the_parent_killed_its_workers_end_and_their_locks_fall(tmp_path):
    trials = sweep(2000)
    process = started(tmp_path, 2, trials)
    wait_for(lambda: len(checkpoints(tmp_path)) >= 2)
    assert len(descendants(process.pid)) == 3
    process.kill()
    process.join()
    wait_for(lambda: not descendants(process.pid), seconds=20)
    store = lab(tmp_path).store
    for name in store.groups():
        wait_for(lambda name=name: is_free(store, name), seconds=20)  # the last thread closes files
    assert not list(tmp_path.rglob("failure.json"))


def test_two_processes_share_a_store(tmp_path, undisturbed, monkeypatch):
    log = tmp_path / "log"
    finish = gengap.lab._store.Store.finish

    def logged(self, trial, **result):
        with log.open("a") as file:
            file.write(f"{os.getpid()} {trial}\n")
        finish(self, trial, **result)

    monkeypatch.setattr(gengap.lab._store.Store, "finish", logged)
    folder = tmp_path / "store"
    both = [started(folder), started(folder)]
    for process in both:
        process.join()
        assert process.exitcode == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(trial for _, trial in lines) == sorted(trial.id for trial in TRIALS)
    assert outcome(folder) == undisturbed[0]


def test_another_process_takes_over_from_one_that_was_killed(tmp_path, undisturbed):
    first = started(tmp_path)
    wait_for(lambda: checkpoints(tmp_path))
    second = started(tmp_path)
    time.sleep(0.05)
    first.kill()
    second.join()
    assert second.exitcode == 0
    assert outcome(tmp_path) == undisturbed[0]
