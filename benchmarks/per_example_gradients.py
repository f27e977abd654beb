"""Squared norms and the sum of per-example gradients: gengap beside its peers, in one run.

Run: python benchmarks/per_example_gradients.py [--quick] [--threads 2] [--network MLP]. Needs
`pip install -c constraints.txt -e ".[bench]"`; a peer that is missing is left out. Every way has a
process of its own, for what a pass costs hangs on the memory that earlier ones have left. There it
takes turns with a plain forward and backward pass of the same batch, both fetching it from the
split; all ways of a row go twice, back and forth. The table shows medians of the ratios, turn by
turn, and in brackets the ratio of the least times, which other people's work disturbs least.
`--clock processor` takes the processor's time instead of the wall's, for a machine that has other
work to do. Exit code 1 if a bar is missed.
"""

import argparse
import ctypes
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from datetime import date
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from gengap import Risk
from gengap._streams import streams
from gengap.data import Split
from gengap.gradients import gradient_statistics, per_example_dots
from gengap.models import mlp, small_alexnet

warnings.filterwarnings("ignore")
SHAPE, CLASSES = (3, 28, 28), 10
SECONDS = 1


class Block(nn.Module):
    """Two convolutions, each normalized, beside a shortcut."""

    def __init__(self, inputs, outputs, stride, norm):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([norm(outputs), norm(outputs)])
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.shortcut(x))


def residual(norm):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), norm(16), nn.ReLU(),
        Block(16, 16, 1, norm), Block(16, 32, 2, norm), Block(32, 32, 1, norm),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES),
    )  # fmt: skip


def alexnet():
    """Return the small AlexNet with PyTorch's own convolutions, which the peers know."""
    model = small_alexnet(SHAPE, CLASSES)
    for i, layer in enumerate(model):
        if isinstance(layer, nn.Conv2d):
            inputs, outputs = layer.in_channels, layer.out_channels
            model[i] = nn.Conv2d(inputs, outputs, layer.kernel_size, padding=layer.padding)
    return model


NETWORKS = {
    "MLP 2352-512-10": (lambda: mlp(SHAPE, CLASSES, hidden=(512,)), {128: 1.30, 512: 1.10}),
    "small AlexNet": (alexnet, {128: 1.15, 512: 1.15}),
    "ResNet, GroupNorm": (lambda: residual(partial(nn.GroupNorm, 4)), {128: 1.4, 512: 1.4}),
    "ResNet, BatchNorm": (lambda: residual(nn.BatchNorm2d), {128: 1.4, 512: 1.4}),
}
"""Builder, and the bar for norms, sum and m-coherence by batch size."""


def fetched(x, y):
    """Return the batch as a loop over the data fetches it: all ways pay for that."""
    split = Split(inputs=x, targets=y, num_classes=CLASSES)
    return lambda: next(iter(split.batches(len(x))))


def plain(model, x, y):
    """Return a forward and backward pass."""
    fetch = fetched(x, y)

    def run():
        x, y = fetch()
        model.zero_grad()
        F.cross_entropy(model(x), y, reduction="sum").backward()

    return run


def ours(model, x, y):
    risk = Risk(model, Split(inputs=x, targets=y, num_classes=CLASSES), chunk=len(x))
    return lambda: gradient_statistics(risk).m_coherence


def our_dots(model, x, y):
    risk = Risk(model, Split(inputs=x, targets=y, num_classes=CLASSES), chunk=len(x))
    direction = {name: torch.ones_like(p) for name, p in risk.params.items()}
    return lambda: per_example_dots(risk, direction)


def vectorized(model, x, y, *, chunk):
    point = {name: p.detach() for name, p in model.named_parameters()}
    held, fetch = dict(model.named_buffers()), fetched(x, y)

    def loss(point, x, y):
        return F.cross_entropy(functional_call(model, {**held, **point}, (x[None],)), y[None])

    def run():
        x, y = fetch()
        total = {name: torch.zeros_like(p) for name, p in point.items()}
        squares = []
        for xs, ys in zip(x.split(chunk), y.split(chunk), strict=True):
            rows = vmap(grad(loss), in_dims=(None, 0, 0))(point, xs, ys)
            squares.append(sum(g.flatten(1).square().sum(1) for g in rows.values()))
            for name, g in rows.items():
                total[name] += g.sum(0)
        return torch.cat(squares)

    return run


def opacus_ghost(model, x, y):
    from opacus.grad_sample import GradSampleModuleFastGradientClipping as Ghost

    model.train()  # it records nothing in evaluation mode; no layer here differs
    wrapped = Ghost(model, max_grad_norm=1e9, use_ghost_clipping=True, loss_reduction="sum")
    fetch = fetched(x, y)

    def run():
        x, y = fetch()
        wrapped.zero_grad()
        F.cross_entropy(wrapped(x), y, reduction="sum").backward()
        return wrapped.get_norm_sample()

    return run


def backpack_l2(model, x, y):
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    extended, loss = extend(model), extend(nn.CrossEntropyLoss(reduction="sum"))
    fetch = fetched(x, y)

    def run():
        x, y = fetch()
        extended.zero_grad()
        with backpack(BatchL2Grad()):
            loss(extended(x), y).backward()
        return sum(p.batch_l2 for p in extended.parameters())

    return run


WAYS = {
    "gengap": ours,
    "gengap, inner products": our_dots,
    "Opacus, ghost clipping": opacus_ghost,
    "BackPACK, BatchL2Grad": backpack_l2,
    "torch.func, by 32": partial(vectorized, chunk=32),
}
NEEDS = {"Opacus, ghost clipping": "opacus", "BackPACK, BatchL2Grad": "backpack"}


def batch(size):
    draw = streams(0)
    x = torch.randn(size, *SHAPE, generator=draw("inputs"))
    return x, torch.randint(CLASSES, (size,), generator=draw("labels"))


def measure(network, size, way, repeats, clock):
    """Return the seconds of every turn, ours and the plain pass's; None where a way does not run.

    Short passes take more turns, for a second: the first dozen tell little.
    """
    build, (x, y) = NETWORKS[network][0], batch(size)
    reference, turns = plain(build().eval(), x, y), []
    try:
        run = WAYS[way](build().eval(), x, y)
        run()
    except Exception:
        return None
    reference()
    while len(turns) < repeats or (repeats > 1 and sum(own for own, _ in turns) < SECONDS):
        before = clock()
        reference()
        between = clock()
        run()
        turns.append((clock() - between, between - before))
    return turns


def row(network, size, ways, arguments):
    """Return the ratios of every way to a plain pass; None where it does not run."""
    rounds = {way: [] for way in ways}
    for way in [*ways, *reversed(ways)]:
        rounds[way].append(json.loads(alone("--cell", network, str(size), way, *arguments)))
    return {way: summary([*a, *b]) if a and b else None for way, (a, b) in rounds.items()}


def summary(turns):
    """Return the median of the ratios, and the ratio of the least times."""
    least = min(own for own, _ in turns) / min(reference for _, reference in turns)
    return statistics.median(own / reference for own, reference in turns), least


def cell(found):
    if found is None:
        return "error"
    return found and f"{found[0]:.2f} ({found[1]:.2f})"


def memory(network, size, way):
    """Print the peak of a fresh process's resident memory in a third pass, in KiB above its start.

    A pass starts without gradients and ends with them, in memory that is the system's before.
    """
    make, model = {"plain": plain, **WAYS}[way], NETWORKS[network][0]().eval()
    run = make(model, *batch(size))
    for _ in range(2):
        run()
    model.zero_grad()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is what there is now
    before = resident()
    run()
    print(resident() - before)


def resident():
    """Return the peak of this process's resident memory so far, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def peak(network, size, way):
    return int(alone("--memory", network, str(size), way)) / 1024


def alone(*arguments):
    """Return the last line that this file prints in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip().splitlines()[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn, small batches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", action="store_true", help="without the peers")
    parser.add_argument("--network", default="", help="only those whose name holds this")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        return memory(options.memory[0], int(options.memory[1]), options.memory[2])
    if options.cell:
        clock = time.perf_counter if options.clock == "wall" else time.process_time
        network, size, way = options.cell
        turns = 1 if options.quick else options.turns
        return print(json.dumps(measure(network, int(size), way, turns, clock)))
    print(
        f"{date.today()}, {platform.machine()}, {platform.system()}, torch {torch.__version__}, "
        f"{options.threads} threads, {options.clock} clock, median of twice "
        f"{options.turns} turns or {SECONDS} second a way. "
        "Ratios to a plain forward and backward pass.\n"
    )
    print("| network, batch | bar | " + " | ".join(WAYS) + " | peak memory, ours / plain, MB |")
    print("| --- " * (len(WAYS) + 3) + "|")
    missed = []
    absent = [way for way, need in NEEDS.items() if importlib.util.find_spec(need) is None]
    ways = [w for w in WAYS if w.startswith("gengap") or not (options.only or w in absent)]
    chosen = {name: made for name, made in NETWORKS.items() if options.network in name}
    for name, (_, bars) in chosen.items():
        for size, bar in bars.items():
            used = 16 if options.quick else size
            ratios = row(name, used, ways, sys.argv[1:])
            rooms = [peak(name, used, way) for way in ("gengap", "plain")]
            cells = [cell(ratios.get(way, "")) for way in WAYS]
            room = f"{rooms[0]:.0f} / {rooms[1]:.0f}"
            print(f"| {name}, {used} | {bar:.2f} | {' | '.join(cells)} | {room} |", flush=True)
            peers = [ratios[way][0] for way in NEEDS if ratios.get(way)]
            own, dots = ratios["gengap"][0], ratios["gengap, inner products"][0]
            if own > bar or dots > 1 or own > min([*peers, own]):
                missed.append(f"{name}, {used}")
    print(f"\nBars missed: {', '.join(missed) or 'none'}.")
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
