"""The kernel twin of an audit: a Gaussian kernel on the same data sets, beside the network."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from gengap._right import is_right
from gengap.data import Split
from gengap.kernels import leave_one_out_bandwidth, median_bandwidth, solve_bytes
from gengap.lab import Data, Lab, Measurement, Progress, Trial, plain

from ._plan import AS_GIVEN, Planned

_TINY_RIDGE = 1e-6
COLUMNS = (
    *("data_set", "level", "seed", "train_accuracy", "test_accuracy", "norm", "residual"),
    *("bandwidth", "ridge"),
)
_BESIDE = {"train_accuracy": "kernel_train", "test_accuracy": "kernel_test", "norm": "kernel_norm"}
Rows = list[dict[str, Any]]


def check_twin(halves: tuple[Split, Split | None], planned: Sequence[Planned]) -> None:
    """Require that the kernel twin fits in memory, before anything is trained.

    Raises:
        ValueError: It does not.
    """
    train = halves[0]
    columns = (train.num_classes or 1) * max(len(group) for group in _groups(planned))
    needed, free = solve_bytes(len(train), math.prod(train.input_shape), columns)
    if free is not None and needed > free:
        raise ValueError(
            f"`kernel_twin` must fit in memory: the kernel matrix of {len(train):,} examples and "
            f"its inputs take {needed / 1e9:.3g} GB; got {free / 1e9:.3g} GB free. Take fewer "
            "examples."
        )


def kernel_twin(
    lab: Lab,
    planned: Sequence[Planned],
    *,
    progress: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Return what a Gaussian kernel makes of the data sets of an audit, a row each.

    The interpolant of least norm, without a ridge, on what the network sees: the same split,
    corruption and seed, inputs after preprocessing, without augmentation. Its bandwidth is a
    multiple of one over the median squared distance of each data set's training inputs; the
    multiple is the one of least leave-one-out error on true labels of drawn examples. Equal
    examples with different labels cannot be interpolated: there a ridge of 1e-6 is taken, and
    said in `ridge`. Labels drawn anew on the same inputs share one factorization.

    Returns:
        data_set, level, seed, train_accuracy, test_accuracy, norm (of the function, over all
        classes), residual (relative, of the linear system), bandwidth, ridge.
    """
    asked = []
    for group in _groups(planned):
        trials = [item.trial for item in group]
        options = {
            "data": trials[0].data.spec,
            "sets": [[plain(trial.corruption), trial.seed] for trial in trials],
            "bandwidth": "by examples drawn of all",
        }
        asked.append(
            Measurement(
                name="kernel-twin",
                options=options,
                compute=lambda trials=trials: {"rows": _solve(trials)},  # type: ignore[misc]
            )
        )
    found = lab.measure(asked, progress=progress)
    rows: Rows = []
    for group, values in zip(_groups(planned), found, strict=True):
        for item, row in zip(group, (values or {})["rows"], strict=True):
            place = {"data_set": item.data_set.name, "level": item.data_set.level}
            rows.append({**place, "seed": item.trial.seed, **row})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def with_twin(table: pd.DataFrame, twin: pd.DataFrame) -> pd.DataFrame:
    """Return an audit's results with kernel_train, kernel_test and kernel_norm beside."""
    if not len(twin):
        return table
    beside = twin.rename(columns=_BESIDE)[["data_set", "seed", *_BESIDE.values()]]
    found = table.merge(beside, on=["data_set", "seed"], how="left", sort=False)
    found.loc[found["variant"] != AS_GIVEN, list(_BESIDE.values())] = math.nan
    return found


def _groups(planned: Sequence[Planned]) -> Iterator[list[Planned]]:
    """Yield the data sets that share their inputs: those whose labels alone are redrawn."""
    given = [item for item in planned if item.variant == AS_GIVEN]
    yield [item for item in given if item.data_set.level is not None]
    yield from ([item] for item in given if item.data_set.level is None)


def _solve(trials: Sequence[Trial]) -> Rows:
    """Fit the labels of all trials, which share their inputs, with one factorization."""
    from gengap.kernels import KernelInterpolator

    halves = [trial.splits() for trial in trials]
    train, test = halves[0]
    if test is None or train.num_classes is None:
        raise ValueError("A kernel twin needs classes and a test half; got a trial without.")
    x, z = (half.batch()[0].flatten(1).double() for half in (train, test))
    bandwidth = _multiple(trials[0].data) * median_bandwidth(x)
    labels = [own.targets.cpu() for own, _ in halves]
    hot = [torch.nn.functional.one_hot(own, train.num_classes).double() for own in labels]
    targets = torch.cat(hot, dim=1).numpy()
    ridge = 0.0 if _can_interpolate(x, labels) else _TINY_RIDGE
    machine = KernelInterpolator(
        bandwidth=bandwidth, ridge=ridge, solver="cholesky", keep_factor=False
    ).fit(x.numpy(), targets)
    fitted, said = (
        torch.from_numpy(machine.predict(rows.numpy())).chunk(len(trials), dim=1) for rows in (x, z)
    )
    norms = torch.from_numpy(machine.rkhs_norms_).chunk(len(trials))
    return [
        {
            "train_accuracy": _share(fitted[place], labels[place]),
            "test_accuracy": _share(said[place], halves[place][1].targets),  # type: ignore[union-attr]
            "norm": float(norms[place].norm()),
            "residual": float(machine.residual_),
            "bandwidth": bandwidth,
            "ridge": ridge,
        }
        for place in range(len(trials))
    ]


def _multiple(data: Data) -> float:
    """Return how many times the median bandwidth errs least when an example is left out."""
    train, _ = data.load()
    inputs, labels = train.batch()
    return leave_one_out_bandwidth(inputs, labels) / median_bandwidth(inputs)


def _can_interpolate(x: Tensor, labels: Sequence[Tensor]) -> bool:
    """Return whether equal inputs have equal labels."""
    _, place = torch.unique(x, dim=0, return_inverse=True)
    if int(place.max()) == len(x) - 1:
        return True
    first = torch.zeros(len(x), dtype=torch.long)
    return all(bool((first.scatter(0, place, own)[place] == own).all()) for own in labels)


def _share(values: Tensor, labels: Tensor) -> float:
    return float(is_right(values, labels.cpu()).double().mean())
