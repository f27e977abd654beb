"""A sweep of 200 trials on digits: two processes here, two Ray nodes, and two of which one dies.

Run: python benchmarks/ray_overhead.py [TURNS] [EPOCHS]. Starts the nodes on this machine, each with
one processor, and lets a worker start on each; prints a Markdown table. Every sweep must give the
same bits. Processor seconds are those of all processes of the sweep, Ray's own among them.
"""

import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # as the processes of the local engine

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import gengap
from gengap.corruptions import RandomLabels
from gengap.lab import Data, Lab, LocalEngine, Model, RayEngine, Trial

NODE = {"num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False}
TICKS = os.sysconf("SC_CLK_TCK")


def sweep(epochs):
    return [
        Trial(
            data=Data.named("digits"),
            model=Model.named("mlp", hidden=(128,)),
            recipe=gengap.Recipe(epochs=epochs, lr=0.1),
            corruption=RandomLabels(probability=probability),
            seed=seed,
        )
        for probability in (0.2, 0.4, 0.6, 0.8, 1.0)
        for seed in range(40)
    ]


def processor_seconds():
    """Return what this process and its descendants, living or ended, have used."""
    used, parent = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        process = int(path.parent.name)
        parent[process] = int(words[1])
        used[process] = sum(map(int, words[11:15])) / TICKS  # own, and of children that ended
    ours, front = set(), {os.getpid()}
    while front:
        ours |= front
        front = {child for child, above in parent.items() if above in front} - ours
    return sum(used[process] for process in ours)


def timed(folder, engine, trials):
    lab = Lab(folder, engine=engine, device="cpu")
    start, used = time.perf_counter(), processor_seconds()
    frame = lab.run(trials)
    wall, used = time.perf_counter() - start, processor_seconds() - used
    assert frame["status"].isin(["fitted", "stopped"]).all(), frame["reason"].unique()
    return wall, used, bits(lab, trials)


def bits(lab, trials):
    history = lab.history(trials).drop(columns="seconds").to_csv(float_format="%.17g")
    files = [f"trials/{trial.id}/weights.safetensors" for trial in trials]
    return history, [lab.store.files.read(file) for file in files]


def both_up():
    """Wait until a worker has started on each node."""

    @ray.remote(num_cpus=1)
    def up():
        import gengap.lab  # noqa: F401

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    ray.get([up.options(scheduling_strategy=place).remote() for place in there])


def main(turns=3, epochs=30):
    trials = sweep(epochs)
    trials[0].data.load()
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    wanted = None
    seconds = {"two processes here": [], "two Ray nodes": []}
    try:
        node = cluster.add_node(**NODE)
        both_up()
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(turns):
                for name, rows in list(seconds.items())[:: 1 if turn % 2 else -1]:
                    engine = LocalEngine(2) if "here" in name else RayEngine()
                    *row, found = timed(f"{folder}/{name}-{turn}", engine, trials)
                    rows.append(row)
                    wanted = wanted or found
                    assert found == wanted, "other bits"
                    print(name, [round(value, 1) for value in row], file=sys.stderr, flush=True)
            usual = statistics.median(row[0] for row in seconds["two Ray nodes"])
            after = random.SystemRandom().uniform(0.1, 0.9) * usual
            killer = threading.Timer(after, cluster.remove_node, (node, False))
            killer.start()
            *row, found = timed(f"{folder}/killed", RayEngine(), trials)
            assert not killer.is_alive()
            assert found == wanted, "other bits"
            seconds[f"one of them killed after {after:.0f} s"] = [row]
    finally:
        ray.shutdown()
        cluster.shutdown()
    print("| 200 trials | seconds | processor seconds | ratio |\n| --- | ---: | ---: | --- |")
    base = [
        statistics.median(column) for column in zip(*seconds["two processes here"], strict=True)
    ]
    for name, rows in seconds.items():
        wall, used = (statistics.median(column) for column in zip(*rows, strict=True))
        share = f"{wall / base[0]:.2f}"
        told = f"{used:.1f}"
        if "killed" in name:  # what the dead had used is not counted any more
            told = ""
        else:
            share += f", {used / base[1]:.2f} of processor time"
        print(f"| {name} | {wall:.1f} | {told} | {share} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
