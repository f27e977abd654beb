"""Kernel interpolation: gengap beside scikit-learn and SciPy, in one run.

Run: OMP_NUM_THREADS=2 python benchmarks/kernels.py [--sizes 4000 8000 16000] [--turns 3]
[--threads 2] [--features 784] [--clock wall|cpu]. From data to coefficients: the Gaussian kernel of
bandwidth 0.02 of smooth images of ten kinds, one-hot targets. The ways take turns in alternating
order; the table has the fastest turn of each, the peak memory of fresh processes over that of the
data, in entries of the whole matrix in the dtype of the peers beside it, and the relative residual
in float64. The factorization is also timed alone, as a share of the rate of a product of square
float32 matrices of the same size (8,000 at most) in the same turn: NumPy's, and oneDNN's, which is
the one used here. From n = 16,000 there is one
turn; ways are left out whose peers would not fit. "float32" is compared with the peers in float32,
"float32, refined" with those in float64. Exit code 1 if a bar is missed: 0.6 of the better peer's
time, 0.4 of its memory; from n = 8,000, 0.9 of the rate of NumPy's products.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from gengap._linear import linear
from gengap.kernels import KernelInterpolator
from gengap.kernels._cholesky import cholesky
from gengap.kernels._kernel import as_kernel
from gengap.kernels._memory import free_bytes
from gengap.kernels._panels import kernel_panels

BANDWIDTH = 0.02
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CLOCK = [time.perf_counter]


def data(n, d):
    """Return images that are as close to each other as digits are, and one-hot targets."""
    g = np.random.default_rng(0)
    centres, mixing = g.normal(size=(10, d)), g.normal(size=(40, d)) / 40**0.5
    y = g.integers(0, 10, n)
    x = 0.1 * centres[y] + 0.2 * g.normal(size=(n, 40)) @ mixing + 0.15 * g.normal(size=(n, d))
    return x, np.eye(10)[y]


def ours(dtype, **arguments):
    def fit(x, y):
        estimator = KernelInterpolator(
            bandwidth=BANDWIDTH, dtype=dtype, solver="cholesky", keep_factor=False, **arguments
        )
        return estimator.fit(x, y).dual_coef_

    return fit


def ridge(dtype):
    def fit(x, y):
        peer = KernelRidge(kernel="rbf", gamma=BANDWIDTH, alpha=0.0)
        return peer.fit(x.astype(dtype), y.astype(dtype)).dual_coef_

    return fit


def solve(dtype):
    def fit(x, y):
        matrix = rbf_kernel(x.astype(dtype), gamma=BANDWIDTH)
        return scipy.linalg.solve(
            matrix, y.astype(dtype), assume_a="pos", overwrite_a=True, check_finite=False
        )

    return fit


WAYS = {
    "gengap float32": ours("float32", refine=False),
    "scikit-learn KernelRidge float32": ridge(np.float32),
    "scipy.linalg.solve float32": solve(np.float32),
    "gengap float32, refined": ours("float32"),
    "gengap float64": ours("float64"),
    "scikit-learn KernelRidge float64": ridge(np.float64),
    "scipy.linalg.solve float64": solve(np.float64),
}
ROUGH, FINE = list(WAYS)[:3], list(WAYS)[3:]


def residual(x, y, a):
    """Return ||y - K a|| / ||y|| in float64, row block by row block."""
    found = [
        y[i : i + 500] - rbf_kernel(x[i : i + 500], x, BANDWIDTH) @ a for i in range(0, len(x), 500)
    ]
    return float(np.linalg.norm(np.concatenate(found)) / np.linalg.norm(y))


def peak(way, n, d, threads):
    """Return the bytes that a fresh process takes for one fit, beyond those of its data."""
    command = [sys.executable, __file__, "--only", way, "--sizes", str(n), "--features", str(d)]
    done = subprocess.run(
        [*command, "--threads", str(threads)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def taken(act):
    """Return the bytes that this process takes at most during the call, beyond those before."""
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew

    def kilobytes(field):
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(lines[field].split()[0])

    before = kilobytes("VmRSS")
    act()
    return 1024 * (kilobytes("VmHWM") - before)


def rates(n, d):
    """Return the factorization's rate as shares of NumPy's and of oneDNN's product, float32."""
    x = torch.tensor(data(n, d)[0], dtype=torch.float32)
    kernel = as_kernel("gaussian", bandwidth=BANDWIDTH, degree=1, offset=0.0)
    panels = kernel_panels(kernel, x - x.mean(0), ridge=0.0)
    seconds = clock(lambda: cholesky(panels))
    m = min(n, 8000)
    a = torch.ones(m, m)
    products = [clock(lambda: a.numpy() @ a.numpy()), clock(lambda: linear(a, a))]
    return [n**3 / 3 / seconds / (2 * m**3 / taken) for taken in products]


def clock(act):
    start = CLOCK[0]()
    act()
    return CLOCK[0]() - start


def held(n):
    """Return the ways whose peers, at 3.2 matrices, fit in memory."""
    free = free_bytes(torch.device("cpu"))
    return [name for name in WAYS if free is None or 3.2 * size(name) * n**2 < 0.8 * free]


def size(name):
    return 4 if name in ROUGH else 8


def timings(n, d, *, turns):
    """Return the fastest seconds and the residual of each way, and the best shares of the rates."""
    x, y = data(n, d)
    names, shares = held(n), []
    seconds, found = {name: [] for name in names}, {}
    for turn in range(turns):
        for name in names[:: 1 if turn % 2 else -1]:
            seconds[name].append(clock(lambda name=name: found.update({name: WAYS[name](x, y)})))
        shares.append(rates(n, d))
    residuals = {name: residual(x, y, a) for name, a in found.items()}
    best = [max(of) for of in zip(*shares, strict=True)]
    return {name: min(taken) for name, taken in seconds.items()}, residuals, best


def judge(n, d, best, residuals, shares, *, threads):
    """Print the rows of one size; return the bars that are missed."""
    matrices = {name: peak(name, n, d, threads) / n**2 for name in best}
    missed = []
    for group in (ROUGH, FINE):
        names = [name for name in group if name in best]
        peers = [name for name in names if "gengap" not in name]
        if not peers:
            continue
        seconds, memory = (min(part[p] for p in peers) for part in (best, matrices))
        for name in names:
            print(
                f"| {n:,} | {name} | {best[name]:.2f} | {best[name] / seconds:.2f} | "
                f"{matrices[name] / size(name):.2f} | {matrices[name] / memory:.2f} | "
                f"{residuals[name]:.0e} |",
                flush=True,
            )
        slow, large = best[group[0]] / seconds, matrices[group[0]] / memory
        missed += [f"{group[0]}, n = {n}: {slow:.2f} of the time"] * (slow > 0.6)
        missed += [f"{group[0]}, n = {n}: {large:.2f} of the memory"] * (large > 0.4)
    for library, share in zip(("NumPy", "oneDNN"), shares, strict=True):
        print(f"| {n:,} | factorization, share of {library}'s product rate | {share:.2f} | | | | |")
    return missed + [f"n = {n}: {shares[0]:.2f} of the rate"] * (n >= 8000 and shares[0] < 0.9)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4000, 8000, 16000])
    parser.add_argument("--features", type=int, default=784)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--only", choices=WAYS)
    arguments = parser.parse_args()
    CLOCK[0] = CLOCKS[arguments.clock]
    torch.set_num_threads(arguments.threads)
    if arguments.only:
        x, y = data(arguments.sizes[0], arguments.features)
        WAYS[arguments.only](x[:1000], y[:1000])  # loads the libraries
        print(taken(lambda: WAYS[arguments.only](x, y)))
        return
    print(f"{platform.machine()}, {arguments.threads} threads, {arguments.clock} time\n")
    sizes, d = arguments.sizes, arguments.features
    timed = {n: timings(n, d, turns=arguments.turns if n < 16_000 else 1) for n in sizes}
    print("timed; now the memory", timed, file=sys.stderr, flush=True)
    print("| n | way | seconds | to the better peer | n² entries | to the better peer | residual |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    missed = []
    for n in sizes:
        missed += judge(n, d, *timed[n], threads=arguments.threads)
    print("\n" + ("\n".join(["Missed:", *missed]) if missed else "Every bar is reached."))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
