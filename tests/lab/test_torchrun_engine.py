"""Twin: a sweep under torchrun against the local engine; property: what ranks cannot do is said."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import gengap
from gengap._errors import UsageError
from gengap.corruptions import RandomLabels
from gengap.lab import Data, Lab, Model, Trial
from gengap.lab._group import NotOfTheTrial, train_group

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
import gengap
from gengap.lab import TorchrunEngine
from tests.lab.test_torchrun_engine import sweep
often = len(sys.argv) > 3
engine = TorchrunEngine(checkpoint_seconds=0.1) if often else "torchrun"
lab = gengap.Lab(sys.argv[1], engine=engine)
frame = lab.run(sweep(int(sys.argv[2])))
line = f"rows {frame['status'].tolist()}\\n"  # in one piece: ranks write at once, unbuffered
sys.stdout.write(line)
"""


def sweep(epochs=8):
    """Two that end, a divergence, and a failure: two ranks cannot share a batch of one."""
    recipe = gengap.Recipe(epochs=epochs, lr=0.1, batch_size=32)
    common = {"model": Model.named("mlp", hidden=(16,)), "recipe": recipe}
    digits = Data.named("digits", examples=200)
    return [
        Trial(data=digits, **common),
        Trial(data=digits, corruption=RandomLabels(probability=1.0), seed=1, **common),
        Trial(data=digits, model=common["model"], recipe=gengap.Recipe(epochs=2, lr=1e12)),
        Trial(data=digits, model=common["model"], recipe=gengap.Recipe(epochs=2, batch_size=1)),
    ]


def torchrun(*arguments, ranks=2):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.Popen(
        [*command, f"--nproc_per_node={ranks}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def said(process, code=0):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def history(store, epochs=8):
    frame = Lab(store).history(sweep(epochs)[:2])
    return frame.drop(columns="seconds")


@pytest.mark.slow
def test_a_sweep_under_torchrun_ends_as_one_here(tmp_path, script):
    output = said(torchrun(script, tmp_path / "ranks", 8))
    rows = "rows ['stopped', 'stopped', 'diverged', 'failed']"
    assert output.count(rows) == 2  # every rank reads the same
    Lab(tmp_path / "local", workers=1).run(sweep()[:2])
    pd.testing.assert_frame_equal(
        history(tmp_path / "ranks"), history(tmp_path / "local"), rtol=1e-4, atol=1e-5
    )
    reason = Lab(tmp_path / "ranks").frame(sweep())["reason"].iloc[-1]
    assert "`batch_size` must be at least the number of ranks" in reason


def kill(script):
    """Kill torchrun and its workers, who are in sessions of their own."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(script).encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the workers by their command lines")
def test_a_killed_sweep_goes_on_and_one_process_may_finish_it(tmp_path, script):
    store, epochs = tmp_path / "store", 500
    process = torchrun(script, store, epochs, "often")
    deadline = time.monotonic() + 120
    while not list(store.glob("groups/*/checkpoint.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    kill(script)
    process.communicate(timeout=60)
    trial = sweep(epochs)[0]
    assert not Lab(store).store.is_complete(trial.id)
    group = next(store.glob("groups/*/checkpoint.safetensors")).parent.name
    before = Lab(store).store.checkpoint(group)[1]["epoch"]
    assert before > 0
    seen = []
    Lab(store, workers=1).run([trial], progress=lambda progress: seen.append(progress.epoch))
    assert min(seen) >= before
    Lab(tmp_path / "local", workers=1).run([trial])
    for found, wanted in zip(*(Lab(tmp_path / n).history([trial])["train_loss"].iloc[:50]
                               for n in ("store", "local")), strict=True):  # fmt: skip
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_the_command_line_prints_and_writes_once(tmp_path):
    words = ["audit", "--seeds", 1, "--epochs", 2, "--examples", 64, "--levels", 0.5]
    words += ["--engine", "torchrun", "--out", tmp_path / "store", "--device", "cpu"]
    output = said(torchrun("-m", "gengap", *words))
    assert output.count("Report: ") == 1
    assert len(list((tmp_path / "store").glob("audits/*/report.html"))) == 1


@pytest.mark.slow
def test_labels_are_ranked_as_in_one_process(tmp_path):
    words = ["labels", "--seeds", 1, "--epochs", 3, "--examples", 200, "--noise", 0.1]
    words += ["--device", "cpu", "--no-gradients"]
    here, ranks = tmp_path / "here", tmp_path / "ranks"
    output = said(torchrun("-m", "gengap", *words, "--engine", "torchrun", "--out", ranks))
    assert output.count("Report: ") == 1
    run = [sys.executable, "-m", "gengap", *map(str, words), "--out", str(here)]
    subprocess.run(run, check=True, capture_output=True)
    found, wanted = (pd.read_csv(next(out.rglob("labels.csv"))) for out in (ranks, here))
    assert found["example"].tolist() == wanted["example"].tolist()
    assert found["negative_margin"].to_numpy() == pytest.approx(
        wanted["negative_margin"].to_numpy(), rel=1e-4, abs=1e-5
    )


@pytest.mark.slow
def test_what_ranks_cannot_share_is_refused(tmp_path):
    words = ["-m", "gengap", "audit", "--seeds", "1", "--epochs", "1"]
    output = said(torchrun(*words, "--engine", "torchrun", "--out", "memory://apart"), code=1)
    assert "`out` must be a folder that all 2 ranks see; 1 of them do not see" in " ".join(
        output.split()
    )
    words = ["-m", "gengap", "audit", "--seeds", "1", "--epochs", "1", "--out", tmp_path]
    output = said(torchrun(*words), code=1)
    assert "`engine` must be 'torchrun' where torchrun starts several processes; got" in output


def test_alone_it_says_how_to_start():
    with pytest.raises(UsageError, match=r"must be started by torchrun.*got no WORLD_SIZE"):
        Lab("nowhere", engine="torchrun")


def test_what_others_raise_is_not_the_trials_failure(tmp_path):
    trial = sweep(2)[0]
    lab = Lab(tmp_path, workers=1)

    def broken(progress):
        raise ZeroDivisionError("the user's own")

    with pytest.raises(ZeroDivisionError, match="the user's own"):
        lab.run([trial], progress=broken)
    assert lab.store.failure(trial.id) is None
    assert lab.run([trial])["status"].tolist() == ["stopped"]


def test_a_rank_lost_is_not_the_trials_failure(tmp_path, monkeypatch):
    trial = sweep(2)[0]
    lab = Lab(tmp_path, workers=1)

    def lost(store, group, device, report, seconds):
        raise NotOfTheTrial from ConnectionError("gone")

    group = lab._packed([trial])[0]
    lab.store.record_group(group.id, [trial.id])
    with pytest.raises(ConnectionError, match="gone"):
        train_group(lab.store, group, device=torch.device("cpu"), train=lost)
    assert lab.store.failure(trial.id) is None
