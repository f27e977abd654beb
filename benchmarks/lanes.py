"""Runs per second: lanes, one after the other, and two processes; is the default the best?

Run: python benchmarks/lanes.py [--quick]. Two threads for lanes and for one after the other, two
processes of one thread, and what `fit_lanes` does on its own. The ways take turns; the table
shows medians of the ratios to one after the other, turn by turn. Exit code 1 if the default is
more than a tenth slower than the best of the three.
"""

import argparse
import platform
import statistics
import sys
import time
from datetime import date

import torch
from torch import nn

from gengap._streams import streams
from gengap.data import Split
from gengap.models import mlp
from gengap.training import Lane, Packing, Recipe, choose_packing, fit_lanes

THREADS = 2


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


CASES = {
    "64-128-10, batch 64": (lambda: mlp((64,), 10, hidden=(128,)), (64,), 64, 32, 1500, 8),
    "64-512-10, batch 128": (lambda: mlp((64,), 10, hidden=(512,)), (64,), 128, 32, 1500, 4),
    "MLP 1x512, 28x28x3, batch 128": (lambda: mlp((3, 28, 28), 10), (3, 28, 28), 128, 8, 1500, 1),
    "small conv net, 28x28x1, batch 64": (conv_net, (1, 28, 28), 64, 8, 500, 1),
}
"""Network, shape of an example, batch size, runs, examples (digits has 1,500), epochs."""


def seconds(build, lanes, recipe, packing):
    torch.set_num_threads(1 if packing and packing.workers > 1 else THREADS)
    start = time.perf_counter()
    fit_lanes(build, lanes, recipe=recipe, device="cpu", packing=packing)
    return time.perf_counter() - start


def measure(build, shape, batch, runs, n, epochs, repeats):
    """Seconds of every way, turn by turn, and the packing that is the default."""
    draw = streams(0)
    split = Split(
        inputs=torch.randn(n, *shape, generator=draw("inputs")),
        targets=torch.randint(10, (n,), generator=draw("labels")),
        num_classes=10,
    )
    lanes = [Lane(split=split, seed=seed) for seed in range(runs)]
    recipe = Recipe(epochs=epochs, batch_size=batch, lr=0.01, evaluate_every=epochs)
    ways = {
        "one by one": Packing(1, 1, ""),
        "lanes": Packing(runs, 1, ""),
        "two processes": Packing(1, 2, ""),
        "default": None,
    }
    turns = []
    for turn in range(repeats):
        names = list(ways) if turn % 2 == 0 else list(ways)[::-1]
        turns.append({name: seconds(build, lanes, recipe, ways[name]) for name in names})
    with torch.random.fork_rng(devices=[]):
        packing = choose_packing(build(), recipe, device=torch.device("cpu"))
    return turns, packing


def line(name, runs, turns, packing):
    """One row of the table, and whether the default is the best."""
    speed = {way: statistics.median(runs / turn[way] for turn in turns) for way in turns[0]}
    times = {
        way: statistics.median(turn["one by one"] / turn[way] for turn in turns) for way in turns[0]
    }
    best = max(("one by one", "lanes", "two processes"), key=times.__getitem__)
    cells = [f"{speed[way]:.2f} ({times[way]:.2f})" for way in speed]
    way = f"{packing.lanes} a program, {packing.workers} processes"
    print("| " + " | ".join([name, str(runs), *cells, best, way]) + " |", flush=True)
    return times["default"] >= 0.9 * times[best]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn, fewer runs: a smoke test")
    quick = parser.parse_args().quick
    print(
        f"{date.today()}, {platform.machine()}, {platform.system()}, torch {torch.__version__}, "
        f"{THREADS} threads. Runs per second (ratio to one by one).\n"
    )
    print("| network | runs | one by one | lanes | two processes | default | best | the default |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    good = []
    for name, (build, shape, batch, runs, n, epochs) in CASES.items():
        count = max(4, runs // 4) if quick else runs
        found = measure(build, shape, batch, count, n, 1 if quick else epochs, 1 if quick else 5)
        good.append(line(name, count, *found))
    print(f"\nThe default is the best of the three, or within a tenth, on {sum(good)} of 4.")
    return 0 if all(good) or quick else 1


if __name__ == "__main__":
    sys.exit(main())
