"""Twin: tasks in processes against the same list made here; what goes wrong is an error."""

import gc
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import torch

from gengap._errors import WorkerError
from gengap.training import map_processes, send_message


def test_results_come_in_the_order_of_the_tasks():
    def square(k):
        time.sleep(0.002 * (7 - k))
        return k * k, torch.get_num_threads()

    assert map_processes(square, range(7), workers=3) == [(k * k, 1) for k in range(7)]
    assert map_processes(square, [], workers=3) == []


def test_tensors_come_back_by_value():
    found = map_processes(lambda k: {"x": torch.full((70_000,), k)}, [1, 2], workers=2)
    assert [int(d["x"].sum()) for d in found] == [70_000, 140_000]


def test_messages_reach_the_parent():
    seen = []

    def task(k):
        for i in range(3):
            send_message((k, i))
        return k

    map_processes(task, range(4), workers=2, on_message=seen.append)
    assert sorted(seen) == [(k, i) for k in range(4) for i in range(3)]
    send_message("nobody listens")


def test_an_error_is_raised_here_with_its_traceback():
    def task(k):
        if k == 1:
            raise KeyError("no such thing")
        return k

    with pytest.raises(KeyError, match="no such thing") as error:
        map_processes(task, range(3), workers=2)
    assert "in task" in error.value.__notes__[0]


def test_processes_end_whatever_the_parent_does_at_sigterm(monkeypatch):
    """As where a process of Ray, whose handler calls its cluster, trains here too."""

    def never(signum, frame):
        time.sleep(60)

    monkeypatch.setattr("gengap.training._processes._PATIENCE", 3600.0)
    before = signal.signal(signal.SIGTERM, never)
    try:
        start = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            map_processes(lambda k: time.sleep(30) if k else 1 / k, range(2), workers=2)
        assert time.monotonic() - start < 20
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_is_still_starting_ends_at_sigterm(monkeypatch, tmp_path):
    own, install = os.getpid(), signal.signal

    def never(signum, frame):
        time.sleep(60)

    def late(*given):
        """Be late in every process but the first."""
        if os.getpid() != own:
            try:
                (tmp_path / "first").touch(exist_ok=False)
            except FileExistsError:
                time.sleep(2)
        return install(*given)

    monkeypatch.setattr("gengap.training._processes._PATIENCE", 3600.0)
    monkeypatch.setattr(signal, "signal", late)
    before = install(signal.SIGTERM, never)
    try:
        start = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            map_processes(lambda k: 1 / k, range(2), workers=2)
        assert time.monotonic() - start < 20
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        install(signal.SIGTERM, before)


class Foreign:
    """What dies when it is freed in another process, as a connection of Ray's does."""

    def __init__(self):
        self.owner, self.itself = os.getpid(), self

    def __del__(self):
        if os.getpid() != self.owner:
            os.kill(os.getpid(), signal.SIGKILL)


def test_what_other_libraries_have_is_not_freed_in_a_process():
    def handler(held):
        return lambda signum, frame: held

    def task(k):
        gc.collect()
        return k

    held = Foreign()
    held.itself = None
    before = signal.signal(signal.SIGTERM, handler(held))
    gc.collect()
    gc.disable()
    try:
        del held
        Foreign()
        assert map_processes(task, range(3), workers=2) == [0, 1, 2]
    finally:
        gc.enable()
        signal.signal(signal.SIGTERM, before)


class Local(Exception):
    """Pickles, but cannot be unpickled."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def test_an_error_that_cannot_be_sent_keeps_its_words():
    class Unpicklable(Exception):
        pass

    def raises(error):
        def task(k):
            raise error

        return task

    with pytest.raises(RuntimeError, match="Unpicklable: oh no"):
        map_processes(raises(Unpicklable("oh no")), [0], workers=1)
    with pytest.raises(RuntimeError, match="Local: this and that"):
        map_processes(raises(Local("this", "that")), [0], workers=1)


def test_a_result_that_cannot_be_sent_is_an_error():
    with pytest.raises(Exception, match="pickle"):
        map_processes(lambda k: lambda: k, [0], workers=1)


def test_a_killed_worker_is_an_error():
    def task(k):
        if k == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return k

    with pytest.raises(WorkerError, match=r"1 of 4 tasks were lost .* run it again"):
        map_processes(task, range(4), workers=2)


ORPHANS = """
import os, sys, time
from gengap.training import map_processes, send_message

def task(k):
    send_message(os.getpid())
    time.sleep(60)

map_processes(task, range(2), workers=2, on_message=lambda pid: print(pid, flush=True))
"""


def test_workers_end_with_a_parent_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        with pathlib.Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False
