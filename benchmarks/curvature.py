"""Eigenpairs and trace of a Hessian: gengap beside its peers, in one run.

Run: python benchmarks/curvature.py [--network mlp|alexnet] [--examples 2000] [--turns 3]
[--threads 2] [--clock wall] [--iterations 100] [--processes 5]. Needs
`pip install -c constraints.txt -e ".[bench]"`; a peer that is missing is left out. Asked of all:
the top 5 eigenpairs to a relative residual of 1e-4, the trace to a standard error of 2 %. Every
turn makes one product each way beside a gradient, in alternating order; the table shows the
medians of the ratios. Then ours is run to the end, and so is ARPACK, which is how curvlinops'
products become eigenpairs; what the peers need is their products times their cost a product:
ARPACK's for curvlinops, for PyHessian the power iterations (its own method, until the residual is
reached, or its own limit of 100 iterations a pair), and for both the products that Hutchinson's
estimate needs by its own standard error. Peak memory is that of fresh processes which find the
eigenpairs, PyHessian's in three iterations a pair.
Exit code 1 if a bar is missed: half of the better peer's time, no more memory than it takes.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from gengap import Risk
from gengap._streams import own_draws
from gengap.curvature import hessian, top_eigenpairs, trace
from gengap.data import Split
from gengap.models import mlp, small_alexnet

warnings.filterwarnings("ignore")
SHAPE, CLASSES, K, TOLERANCE, ERROR = (3, 28, 28), 10, 5, 1e-4, 0.02
CHUNK = {"mlp": 1000, "alexnet": 100}
"""Examples in one pass: the fastest one for everybody on each network."""
MEMORY = {"mlp": 1 << 30, "alexnet": 1 << 20}
"""Bytes for graphs: none are kept of AlexNet, whose take 1.5 MB an example, the peers' memory."""


def problem(network, n):
    """Return a network trained for 20 steps on smooth noisy images, 27 % of the labels wrong."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, CLASSES, (n,), generator=g)
    smooth = [torch.randn(CLASSES, 3, 7, 7, generator=g), torch.randn(n, 3, 14, 14, generator=g)]
    centres, noise = (F.interpolate(part, size=SHAPE[1:], mode="bilinear") for part in smooth)
    x = centres[y] + noise + 0.3 * torch.randn(n, *SHAPE, generator=g)
    x /= x.std()
    wrong = torch.rand(n, generator=g) < 0.3
    y = torch.where(wrong, torch.randint(0, CLASSES, (n,), generator=g), y)
    with own_draws(0):
        model = mlp(SHAPE, CLASSES, hidden=(512,)) if network == "mlp" else alexnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(20):
        chosen = torch.randint(0, n, (64,), generator=g)
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return model, x, y


def alexnet():
    """Return the small AlexNet with PyTorch's own convolutions, which the peers know."""
    model = small_alexnet(SHAPE, CLASSES)
    for i, layer in enumerate(model):
        if isinstance(layer, nn.Conv2d):
            sizes = layer.in_channels, layer.out_channels, layer.kernel_size
            model[i] = nn.Conv2d(*sizes, padding=layer.padding)
    return model


def ours(network, model, x, y):
    risk = Risk(model, Split(inputs=x, targets=y, num_classes=CLASSES), chunk=CHUNK[network])
    operator = hessian(risk, memory=MEMORY[network])
    return lambda v: operator @ v


def curvlinops(network, model, x, y):
    from curvlinops import HessianLinearOperator

    params = dict(model.named_parameters())
    data = list(zip(x.split(CHUNK[network]), y.split(CHUNK[network]), strict=True))
    arguments = (model.eval(), nn.CrossEntropyLoss(), params, data)
    try:
        operator = HessianLinearOperator(*arguments, check_deterministic=False)
    except (AttributeError, TypeError, ValueError):
        arguments = (*arguments[:2], list(params.values()), data)
        operator = HessianLinearOperator(*arguments, check_deterministic=False)
    return lambda v: operator @ v


def pyhessian(network, model, x, y):
    from pyhessian import hessian as peer
    from pyhessian.utils import hessian_vector_product

    found = peer(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
    sizes = [p.numel() for p in found.params]

    def multiply(v):
        parts = [b.view_as(p) for b, p in zip(v.split(sizes), found.params, strict=True)]
        product = hessian_vector_product(found.gradsH, found.params, parts)
        return torch.cat([part.reshape(-1) for part in product])

    return multiply


WAYS = {"gengap": ours, "curvlinops": curvlinops, "PyHessian": pyhessian}


def power_iterations(operator, p, *, most):
    """Return the products of PyHessian's method for all pairs, and whether the bar was reached."""
    found, spent, reached = [], 0, True
    g = torch.Generator().manual_seed(0)
    for _ in range(K):
        v = torch.randn(p, generator=g)
        for _ in range(most):
            for u in found:
                v -= (u @ v) * u
            v /= v.norm()
            product = operator @ v
            spent += 1
            value = float(v @ product)
            if float((product - value * v).norm()) <= TOLERANCE * abs(value):
                break
            v = product
        else:
            reached = False
        found.append(v / v.norm())
    return spent, reached


def arpack(operator, p):
    """Return the products that ARPACK makes for the same pairs."""
    before = operator.products
    by_arpack(lambda v: operator @ v, p)
    return operator.products - before


def by_arpack(multiply, p):
    linear = LinearOperator(
        (p, p), matvec=lambda v: multiply(torch.from_numpy(v.reshape(-1))), dtype=np.float32
    )
    start = np.random.default_rng(0).normal(size=p).astype(np.float32)
    return eigsh(linear, k=K, which="LA", tol=TOLERANCE, v0=start)


def costs(network, model, x, y, *, turns, clock):
    """Return the median cost of a product in gradients, by way; and a gradient's seconds."""
    split = Split(inputs=x, targets=y, num_classes=CLASSES)
    risk = Risk(model, split, chunk=CHUNK[network])
    known = {"gengap": "gengap", "curvlinops": "curvlinops", "PyHessian": "pyhessian"}
    ways = {n: f(network, model, x, y) for n, f in WAYS.items()
            if importlib.util.find_spec(known[n])}  # fmt: skip
    v = torch.randn(sum(p.numel() for p in model.parameters()))
    turns_of = {name: [] for name in ways}
    seconds = []
    for turn in range(turns + 1):
        order = [("gradient", lambda _: risk.gradient()), *ways.items()]
        timed = {}
        for name, run in order[:: 1 - 2 * (turn % 2)]:
            start = clock()
            run(v)
            timed[name] = clock() - start
        if turn:  # the first one builds graphs
            seconds.append(timed["gradient"])
            for name, found in turns_of.items():
                found.append(timed[name] / timed["gradient"])
    return {n: statistics.median(found) for n, found in turns_of.items()}, min(seconds)


def peak(network, n, way, processes):
    """Return the MB that fresh processes take at their peak for one way: the median."""
    run = [sys.executable, __file__, "--network", network, "--examples", str(n), "--only", way]
    run += ["--threads", str(torch.get_num_threads())]
    done = [subprocess.run(run, capture_output=True, text=True, check=True)
            for _ in range(processes)]  # fmt: skip
    return statistics.median(json.loads(each.stdout.splitlines()[-1]) for each in done)


def only(network, n, way):
    """Print the MB beyond the model and the data at the peak of one way to the eigenpairs."""
    model, x, y = problem(network, n)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    p = sum(q.numel() for q in model.parameters())
    if way == "gengap":
        risk = Risk(model, Split(inputs=x, targets=y, num_classes=CLASSES), chunk=CHUNK[network])
        top_eigenpairs(hessian(risk, memory=MEMORY[network]), K, tolerance=TOLERANCE)
    elif way == "curvlinops":
        by_arpack(curvlinops(network, model, x, y), p)
    else:
        from pyhessian import hessian as peer

        found = peer(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        found.eigenvalues(maxIter=3, top_n=K)  # what it holds does not grow with iterations
    print(json.dumps(resident("VmHWM") - before))


def resident(what):
    """Return this process's resident memory in MB, now (VmRSS) or at its peak (VmHWM); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(what))


def compare(network, n, *, turns, clock, iterations, processes):
    model, x, y = problem(network, n)
    cost, second = costs(network, model, x, y, turns=turns, clock=clock)
    p = sum(q.numel() for q in model.parameters())
    risk = Risk(model, Split(inputs=x, targets=y, num_classes=CLASSES), chunk=CHUNK[network])
    operator = hessian(risk, memory=MEMORY[network])
    start = clock()
    pairs = top_eigenpairs(operator, K, tolerance=TOLERANCE)
    spent = {"gengap": (pairs.products, (clock() - start) / second)}
    start = clock()
    ours_trace = trace(operator, standard_error=ERROR)
    trace_spent = {"gengap": (ours_trace.products, (clock() - start) / second)}
    if not (pairs.converged.all() and pairs.complete and ours_trace.converged):
        print("gengap did not converge")
    few = trace(operator, standard_error=0.06, method="hutchinson", most=60)
    needed = round(few.products * (few.standard_error / (ERROR * few.value)) ** 2)
    counted = {
        "curvlinops": (arpack(operator, p), True),
        "PyHessian": power_iterations(operator, p, most=iterations),
    }
    for name in set(cost) - {"gengap"}:
        spent[name] = counted[name][0], counted[name][0] * cost[name]
        trace_spent[name] = needed, needed * cost[name]
    megabytes = {name: peak(network, n, name, processes) for name in cost} if processes else {}
    print(f"\n{network}, {n} examples, {p:,} parameters; a gradient takes {second:.2f} s")
    print(f"{'':12} {'cost of':>8} {'eigenpairs':>20} {'trace':>20} {'both':>8} {'memory':>8}")
    print(f"{'':12} {'product':>8} {'products':>10} {'cost':>9} {'products':>10} {'cost':>9}")
    for name in cost:
        row = (cost[name], *spent[name], *trace_spent[name], spent[name][1] + trace_spent[name][1])
        note = "" if name != "PyHessian" or counted[name][1] else "  (eigenpairs not reached)"
        print("{:12} {:8.2f} {:10d} {:9.1f} {:10d} {:9.1f} {:8.1f}".format(name, *row),
              f"{megabytes.get(name, float('nan')):7.0f}{note}")  # fmt: skip
    return verdict(spent, trace_spent, megabytes)


def verdict(spent, trace_spent, megabytes):
    """Print the ratios to the better peer; return whether both jobs together meet the bar."""
    peers = [name for name in spent if name != "gengap"]
    if not peers:
        return True
    total = {name: spent[name][1] + trace_spent[name][1] for name in spent}
    better = min(peers, key=total.get)
    for what, found in [("eigenpairs", {n: v[1] for n, v in spent.items()}),
                        ("trace", {n: v[1] for n, v in trace_spent.items()}),
                        ("both", total)]:  # fmt: skip
        print(f"{what}: {found['gengap'] / min(found[n] for n in peers):.2f} of the better peer's")
    fits = not megabytes or megabytes["gengap"] <= megabytes[better]
    if not fits:
        print(f"memory: more than {better}")
    return total["gengap"] <= 0.5 * total[better] and fits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("mlp", "alexnet"))
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--iterations", type=int, default=100, help="of PyHessian, a pair")
    parser.add_argument("--processes", type=int, default=5, help="to take the memory of; 0: none")
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:
        only(options.network, options.examples, options.only)
        return 0
    clock = {"wall": time.perf_counter, "processor": time.process_time}[options.clock]
    print(f"Python {platform.python_version()}, PyTorch {torch.__version__}, "
          f"{options.threads} threads; costs in gradients, {options.clock} clock")  # fmt: skip
    networks = [options.network] if options.network else ["mlp", "alexnet"]
    good = [compare(name, options.examples, turns=options.turns, clock=clock,
                    iterations=options.iterations, processes=options.processes)
            for name in networks]  # fmt: skip
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
