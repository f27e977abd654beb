"""Twin: a real Ray cluster, of which a node or a worker is killed, against the local engine.

Oracle: the files of the same sweep run in this process, byte for byte apart from times.
"""

import itertools
import json
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import gengap
import gengap.lab._ray_sweep
from gengap._errors import UsageError
from gengap.cli import main
from gengap.cli._import import resolve
from gengap.data import Split
from gengap.lab import Data, Lab, Model, RayEngine, Trial
from gengap.lab._ray_worker import _unpacked, packed
from tests.lab.sweep import DIGITS, lab, sweep, untimed

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.global_rng("random")  # Ray draws ports and names

TRIALS = sweep(300)  # long enough that a machine is lost in the middle
NODE = {"num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    """A head with one processor; this process is connected to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else the workers wait for all other tests
        cluster = started()
        try:
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def started():
    """A cluster of one node; Ray gives it 30 seconds, which may be short on a crowded machine."""
    from ray.cluster_utils import Cluster

    for last in (False, False, True):
        try:
            return Cluster(initialize_head=True, head_node_args=NODE)
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise
    return None


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    lab(folder).run(TRIALS)
    return folder


@pytest.fixture
def lost(monkeypatch):
    """The reasons why groups were sent again or given up."""
    reasons = []
    again = gengap.lab._ray_sweep.RaySweep._again

    def logged(self, sent, reason):
        reasons.append(reason)
        again(self, sent, reason)

    monkeypatch.setattr(gengap.lab._ray_sweep.RaySweep, "_again", logged)
    return reasons


def on_ray(folder, **options):
    return Lab(folder, engine=RayEngine(**options), device="cpu", lanes=4)


def outcome(folder, trials):
    """All files of trials, without the times in them."""
    store = Lab(folder).store
    found = {}
    for trial in trials:
        result = store.result(trial.id)
        del result["finished"], result["final"]["seconds"]
        for path in (folder / "trials" / trial.id).iterdir():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
        found[f"trials/{trial.id}/result.json"] = result
        found[f"trials/{trial.id}/history.parquet"] = untimed(store.history(trial.id))
    return found


def both_up():
    """Wait until a worker has started on each node."""

    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=1)
    def up():
        import gengap.lab  # noqa: F401

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    ray.get([up.options(scheduling_strategy=place).remote() for place in there])


def workers():
    """The processes that train a group."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if read(path).startswith(b"ray::gengap")
    ]


def read(path):
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def wait_for(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def test_a_sweep_that_loses_a_node_equals_the_local_one(cluster, tmp_path, local, lost):
    node = cluster.add_node(**NODE)
    both_up()
    at_work, put = {}, []

    def kill_one(progress):
        at_work[progress.group] = progress.finished < progress.trials
        if sum(at_work.values()) == 2 and node in cluster.list_all_nodes():
            cluster.remove_node(node, allow_graceful=False)

    original = ray.put
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "put", lambda value: put.append(value) or original(value))
        frame = on_ray(tmp_path).run(TRIALS, progress=kill_one)
    assert frame["trial"].tolist() == [trial.id for trial in TRIALS]
    assert node not in cluster.list_all_nodes()
    assert lost and all("The worker was lost" in reason for reason in lost)
    assert outcome(tmp_path, TRIALS) == outcome(local, TRIALS)
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["plan.lock"]
    assert list((tmp_path / "groups").iterdir()) == []
    assert len(put) == 1  # one data set, three groups, two nodes


def test_a_lost_worker_goes_on_from_its_checkpoint(cluster, tmp_path, lost):
    trials = sweep(240, seeds=(0,))
    shared, seen = tmp_path / "shared", []

    def kill(progress):
        seen.append(progress.epoch)
        kept = any("checkpoint.safetensors" in files for *_, files in os.walk(shared))
        if progress.epoch >= 5 and not lost and kept:
            for process in workers():
                os.kill(process, signal.SIGKILL)

    on_ray(tmp_path / "ray", checkpoints=shared, checkpoint_seconds=0.0).run(trials, progress=kill)
    lab(tmp_path / "local").run(trials)
    assert len(lost) == 1
    assert all(later > 3 for earlier, later in itertools.pairwise(seen) if earlier >= 5)
    assert outcome(tmp_path / "ray", trials) == outcome(tmp_path / "local", trials)
    assert list(shared.iterdir()) == []


def test_an_interrupt_cancels_and_the_next_run_goes_on(cluster, tmp_path, local):
    def stop(progress):
        if progress.epoch >= 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_ray(tmp_path).run(TRIALS, progress=stop)
    wait_for(lambda: not workers())
    store = Lab(tmp_path).store
    for name in store.groups():
        with store.claimed(name) as free:
            assert free
    assert Lab(tmp_path).frame(TRIALS)["status"].eq("unfinished").any()
    on_ray(tmp_path).run(TRIALS)
    assert outcome(tmp_path, TRIALS) == outcome(local, TRIALS)


class Failing(nn.Module):
    def __init__(self, *, deadly=False):
        super().__init__()
        self.layer, self.deadly = nn.Linear(2, 3), deadly

    def forward(self, x):
        if self.deadly:
            os._exit(1)
        raise RuntimeError("no power")


def failing(**options):
    inputs = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=inputs, targets=torch.arange(12) % 3, num_classes=3)
    return Trial(
        data=Data.of(split, None),
        model=Model.of(lambda: Failing(**options)),
        recipe=gengap.Recipe(epochs=1),
    )


def test_a_trial_that_fails_three_times_is_a_row(cluster, tmp_path, lost):
    trials = [failing(), *sweep(1, seeds=(0,))]
    frame = on_ray(tmp_path).run(trials)
    assert frame["status"].tolist() == ["failed", *["stopped"] * 4]
    reason = Lab(tmp_path / "local").run(trials[:1])["reason"].iloc[0]
    assert "no power" in reason
    assert frame["reason"].iloc[0] == reason
    assert lost == [reason] * 3


@pytest.mark.slow
def test_a_trial_that_ends_its_worker_three_times_is_a_row(cluster, tmp_path, lost):
    trials = [failing(deadly=True), *sweep(1, seeds=(0,))]
    frame = on_ray(tmp_path).run(trials)
    assert len(lost) == 3
    assert frame["status"].tolist() == ["failed", *["stopped"] * 4]
    assert frame["reason"].iloc[0].startswith("The worker was lost (WorkerCrashedError)")


def test_the_users_own_modules_go_along(cluster, tmp_path, monkeypatch):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "rays_layers.py").write_text("WIDTH = 12\n")
    code = """
        import torch
        import rays_layers

        def build():
            layers = torch.nn.Linear(64, rays_layers.WIDTH), torch.nn.Linear(rays_layers.WIDTH, 10)
            return torch.nn.Sequential(torch.nn.Flatten(), layers[0], torch.nn.ReLU(), layers[1])
        """
    (folder / "rays_model.py").write_text(textwrap.dedent(code))
    monkeypatch.chdir(folder)
    build = resolve("model", "rays_model:build")
    trial = Trial(
        data=DIGITS,
        model=Model.of(build, name="rays_model:build"),
        recipe=gengap.Recipe(epochs=2),
    )
    try:
        lab(tmp_path / "local").run([trial])
        for file in (*folder.rglob("*.py"), *folder.rglob("*.pyc")):
            file.unlink()
        frame = on_ray(tmp_path / "ray").run([trial])
    finally:
        for name in ("rays_model", "rays_layers"):
            sys.modules.pop(name, None)
    assert frame["status"].tolist() == ["stopped"], frame["reason"].iloc[0]
    assert outcome(tmp_path / "ray", [trial]) == outcome(tmp_path / "local", [trial])


def test_the_verbs_take_the_engine(cluster, tmp_path, capsys):
    words = "audit --examples 60 --epochs 1 --seeds 1 --levels 0.5 --probe 0 --json"
    tables = []
    for engine in ("local", "ray"):
        where = ["--out", str(tmp_path / engine), "--device", "cpu", "--engine", engine]
        assert main([*words.split(), *where]) == 0
        tables.append(json.loads(capsys.readouterr().out)["results"])
    for row in (*tables[0], *tables[1]):
        row.pop("seconds", None)
    assert tables[0] == tables[1]
    for verb in (["study", "run", "zhang2017"], ["labels"]):
        assert main([*verb, "--address", "auto", "--out", str(tmp_path / "none")]) == 2
        assert "`address` is for `--engine ray`" in capsys.readouterr().err


def test_a_split_survives_the_object_store():
    train, _ = DIGITS.load()
    arrays = packed(train)
    arrays["inputs"].flags.writeable = False
    again = _unpacked(arrays)
    assert again.fingerprint() == train.fingerprint()
    assert again.inputs.data_ptr() == train.inputs.data_ptr()  # shared, not copied


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpus": 1.5}, "`gpus` must be"),
        ({"gpus": -1}, "`gpus` must be"),
        ({"cpus": float("nan")}, "`cpus` must be"),
        ({"workers": 0}, "`workers` must be"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        RayEngine(**options)


def test_the_device_is_that_of_the_workers():
    assert RayEngine().device("auto").type == "cpu"
    assert RayEngine(gpus=0.25).device("auto").type == "cuda"
    engine = RayEngine()
    assert engine.device("cuda").type == "cuda"
    assert engine.gpus == 1.0
    with pytest.raises(ValueError, match="`gpus` must be above 0"):
        RayEngine(gpus=0).device("cuda")
    with pytest.raises(ValueError, match="`device` must be"):
        RayEngine().device("tpu")


def test_what_ray_is_missing_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'gengap\[ray\]'"):
        Lab(tmp_path, engine="ray")


def test_no_cluster_is_one_sentence(tmp_path, monkeypatch):
    def refuse(**options):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UsageError, match="`address` must lead to a Ray cluster; got 'auto'"):
        on_ray(tmp_path, address="auto").run(TRIALS[:1])
