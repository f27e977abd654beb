"""Seconds of a training step: three-gradient and robust-mean optimizers beside plain SGD.

Run: python benchmarks/optimizers.py [--quick] [--threads 1]. A step is forward, backward and update
in a plain PyTorch loop. The optimizers take turns, each on its own copy of the network, in one
process after the other, for a step's time hangs on where its memory lies. The table shows median
times and, turn by turn, medians of the ratios to SGD, in brackets their quartiles, and to the
obvious way, `vmap(grad)` and top-k. Exit code 1 if a step with the rolling median costs more than
1.15 of SGD's, or one with winsorized SGD more than a fifth of the obvious way's.
"""

import argparse
import copy
import functools
import multiprocessing
import platform
import statistics
import sys
import time
from datetime import date

import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from gengap._streams import streams
from gengap.models import mlp, small_alexnet
from gengap.optim import (
    MedianOfThree,
    RollingMeanOfThree,
    RollingMedianOfThree,
    TrimmedMeanSGD,
    WinsorizedSGD,
)

LR = 0.01
OF_THREE = {
    "SGD": lambda p: torch.optim.SGD(p, LR),
    "SGD, momentum 0.9": lambda p: torch.optim.SGD(p, LR, momentum=0.9),
    "RM3, rolling median": lambda p: RollingMedianOfThree(p, LR),
    "M3, median": lambda p: MedianOfThree(p, LR),
    "RA3, rolling mean": lambda p: RollingMeanOfThree(p, LR),
}
DEEP = "MLP 784-256-256-256-10, batch 100"
NETWORKS = {
    DEEP: (lambda: mlp((1, 28, 28), 10, hidden=(256, 256, 256)), (1, 28, 28), 100),
    "MLP 2352-512-10, batch 128": (lambda: mlp((3, 28, 28), 10, hidden=(512,)), (3, 28, 28), 128),
    "small AlexNet, batch 128": (lambda: small_alexnet((3, 28, 28), 10), (3, 28, 28), 128),
}


def plain_step(model, optimizer, x, y):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


def robust_step(model, optimizer, x, y):
    optimizer.zero_grad()
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    optimizer.step()


@torch.no_grad()
def obvious_step(model, clipped, x, y):
    """All examples' gradients at once; clip to the next value on either side."""
    params = dict(model.named_parameters())

    def loss(p, x, y):
        return F.cross_entropy(functional_call(model, p, (x[None],)), y[None])

    grads = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)
    for name, p in params.items():
        low = grads[name].topk(clipped + 1, dim=0, largest=False).values[-1]
        high = grads[name].topk(clipped + 1, dim=0).values[-1]
        p -= LR * grads[name].clamp_(low, high).mean(0)


def clock():
    """Seconds; of the process with one thread, so that others on the machine disturb less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds_of(ways, turns, *, warm, timed):
    """Seconds of a step of every way in every turn, which is `warm` steps and then `timed` ones."""
    seconds = {name: [] for name in ways}
    for turn in range(turns):
        for name in list(ways) if turn % 2 else list(ways)[::-1]:
            for _ in range(warm):
                ways[name]()
            start = clock()
            for _ in range(timed):
                ways[name]()
            seconds[name].append((clock() - start) / timed)
    return seconds


def pooled(work, *arguments, processes, threads):
    """What `seconds_of` found in fresh processes, one after the other."""
    context = multiprocessing.get_context("spawn")
    seconds = {}
    for _ in range(processes):
        with context.Pool(1, torch.set_num_threads, (threads,)) as pool:
            for way, found in pool.apply(work, arguments).items():
                seconds.setdefault(way, []).extend(found)
    return seconds


def batch(shape, size):
    draw = streams(0)
    x = torch.randn(size, *shape, generator=draw("x"))
    return x, torch.randint(10, (size,), generator=draw("y"))


def of_three(name, turns):
    """Turns of three warm and six timed steps: as many medians as M3 is due."""
    build, shape, size = NETWORKS[name]
    x, y = batch(shape, size)
    start = build()
    ways = {}
    for way, make in OF_THREE.items():
        model = copy.deepcopy(start)
        optimizer = make(model.parameters())
        ways[way] = functools.partial(plain_step, model, optimizer, x, y)
    return seconds_of(ways, turns, warm=3, timed=6)


def robust(turns):
    build, shape, size = NETWORKS[DEEP]
    start = build()
    x, y = batch(shape, size)
    dark = x * (torch.rand(x.shape, generator=streams(0)("dark")) < 0.2)
    models = [copy.deepcopy(start) for _ in range(6)]

    def sgd(model, kind, percent):
        return kind(model.parameters(), LR, model=model, percent=percent)

    winsorized = sgd(models[1], WinsorizedSGD, 2)
    sparse = sgd(models[2], WinsorizedSGD, 2)
    eight = sgd(models[3], WinsorizedSGD, 8)
    trimmed = sgd(models[4], TrimmedMeanSGD, 2)
    plain = torch.optim.SGD(models[0].parameters(), LR)
    ways = {
        "SGD": lambda: plain_step(models[0], plain, x, y),
        "winsorized, c = 2": lambda: robust_step(models[1], winsorized, x, y),
        "winsorized, c = 2, 80 % of inputs dark": lambda: robust_step(models[2], sparse, dark, y),
        "winsorized, c = 8": lambda: robust_step(models[3], eight, x, y),
        "trimmed, c = 2": lambda: robust_step(models[4], trimmed, x, y),
        "vmap(grad) and top-k, c = 2": lambda: obvious_step(models[5], 2, x, y),
    }
    return seconds_of(ways, turns, warm=1, timed=1)


def ratios(way, base):
    """The quartiles of the ratios, turn by turn."""
    found = [a / b for a, b in zip(way, base, strict=True)]
    return statistics.quantiles(found * 2 if len(found) < 2 else found, n=4, method="inclusive")


def show(network, found):
    base, obvious = found["SGD"], found.get("vmap(grad) and top-k, c = 2")
    for way, seconds in found.items():
        low, middle, high = ratios(seconds, base)
        share = f"{ratios(seconds, obvious)[1]:.2f}" if obvious else ""
        to_sgd = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        cells = (network, way, f"{1e3 * statistics.median(seconds):.1f}", to_sgd, share)
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a turn or two: a smoke test")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{date.today()}, {platform.machine()}, {platform.system()}, torch {torch.__version__}, "
        f"threads: {options.threads}, processes: {options.processes}. Milliseconds a step, ratio "
        "to SGD (quartiles), to the obvious way.\n"
    )
    print("| network | optimizer | ms | to SGD | to vmap and top-k |")
    print("| --- | --- | --- | --- | --- |")
    processes = 1 if options.quick else options.processes
    measure = functools.partial(pooled, processes=processes, threads=options.threads)
    good = []
    few, many = (1, 1, 1), (40, 20, 3)
    for name, turns in zip(NETWORKS, few if options.quick else many, strict=True):
        found = measure(of_three, name, turns)
        show(name, found)
        good.append(ratios(found["RM3, rolling median"], found["SGD"])[1] <= 1.15)
    found = measure(robust, 1 if options.quick else 3)
    show(DEEP, found)
    obvious = found["vmap(grad) and top-k, c = 2"]
    good.append(5 * ratios(found["winsorized, c = 2"], obvious)[1] <= 1)
    print(f"\nWithin their bars: {sum(good)} of {len(good)}.")
    return 0 if all(good) or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
