"""Networks constructed to memorize: weights, time and error, at the sizes of the paper and beyond.

Run: python benchmarks/expressivity.py [--examples 1000000] [--data mnist] [--threads 1]. Real
images need GENGAP_DATA or the user's cache; without them that part is left out. Random labels on
all training images of the data set; random points of R^20 up to --examples, labels of ten classes;
depths 2 to 10 at n = 10,000 random points. Errors are those of the network's own outputs in
float64; `dense` is that of a plain sum over all ReLUs on 1,000 of the examples. Every module is
evaluated again after it was made. Exit code 1 if a bar is missed: every label right, 2n + d
weights, under 5 s for the images and under 60 s for all random points.
"""

import argparse
import sys
import time

import torch

import gengap
from gengap._streams import streams
from gengap.capacity import memorize

BAR_IMAGES, BAR_POINTS = 5.0, 60.0
HEADER = (
    "| examples | n | d | depth | width | weights | 2n + d | make, s | of a core, s | evaluate, s "
    "| wrong | error | dense | slope | exact projection |\n" + "| --- |" + " ---: |" * 13 + " --- |"
)


def line(name, x, y, *, depth=2, bar=None):
    """Print a row of the table; return whether the bar is met."""
    start, of_core = time.perf_counter(), time.process_time()
    module = memorize(x, y, depth=depth)
    made, of_core = time.perf_counter() - start, time.process_time() - of_core
    start = time.perf_counter()
    with torch.no_grad():
        outputs = module(x)
        evaluated = time.perf_counter() - start
        dense = float((module.plain(x[:1000]) - y[:1000]).abs().max())
    wrong = int((outputs.round() != y).sum())
    n, d = len(x), x[0].numel()
    found = module.achieved
    counted = sum(p.numel() for p in module.parameters())
    print(
        f"| {name} | {n:,} | {d} | {depth} | {found.width:,} | {counted:,} | {2 * n + d:,} | "
        f"{made:.2f} | {of_core:.2f} | {evaluated:.2f} | {wrong} | {found.error:.1e} | "
        f"{dense:.1e} | {found.slope:.1e} | {'yes' if found.exact_projection else 'no'} |",
        flush=True,
    )
    extra = 0 if depth == 2 else 2 * (depth - 2) + 1
    return wrong == 0 and counted == 2 * n + d + extra and (bar is None or made < bar)


def labels(n, *names):
    return torch.randint(0, 10, (n,), generator=streams(0)("labels", *names))


def images(data):
    """Return the training images of a data set as pixels over 255, or None."""
    try:
        train, _ = gengap.load(data)
    except gengap.DataError as error:
        print(f"{data} is left out: {error}", file=sys.stderr)
        return None
    return train.inputs


def main():
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(HEADER)
    met = True
    pictures = images(options.data)
    if pictures is not None:
        met &= line(options.data, pictures, labels(len(pictures)), bar=BAR_IMAGES)
    n = 1000
    while n <= options.examples:
        points = torch.randn(n, 20, generator=streams(0)("points", n))
        met &= line("random points", points, labels(n), bar=BAR_POINTS)
        n *= 10
    points = torch.randn(10_000, 20, generator=streams(0)("points", "deep"))
    for depth in range(2, 11):
        met &= line("random points", points, labels(10_000), depth=depth)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
