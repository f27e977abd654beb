"""Groups of trials trained on a Ray cluster."""

import os
from typing import Any, final

import torch

from gengap._checks import check_choice, check_count
from gengap._errors import GengapError, UsageError

from ._engine import Engine, OnProgress
from ._files import Files
from ._group import CHECKPOINT_SECONDS, Group
from ._ray_sweep import RaySweep
from ._store import Store


@final
class RayEngine(Engine):
    """A Ray cluster: a task for every group of trials, on whichever machine has room.

    Only the process that calls `Lab.run` writes the store; workers send it their progress and the
    files of every trial as it ends, and need neither its file system nor the data's, which go once
    to each machine through Ray's object store. A group whose worker or machine is lost is sent
    again, and goes on from its last checkpoint where `checkpoints` names a folder that all
    machines see, else from the start; what failed three times is a row with its reason. Every
    worker computes with one thread: on the same kind of processor the numbers are those of the
    local engine, to the last bit.

    Source: Moritz et al. 2018, Ray: a distributed framework for emerging AI applications.

    Attributes:
        address: Where the cluster is.
        cpus: Processors that a group asks of Ray.
        gpus: GPUs that a group asks of Ray; a fraction shares one.
        workers: Most groups at a time, or None.
        checkpoints: The folder of checkpoints, or None.
        checkpoint_seconds: Least time between two checkpoints of a group, 3 if not said.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        cpus: float = 1.0,
        gpus: float | None = None,
        workers: int | None = None,
        checkpoints: str | os.PathLike[str] | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        """Make an engine; the cluster is joined when the first trial is run.

        Args:
            address: "auto" for the cluster that this machine is part of, "ray://host:10001" for
                one seen from outside, "host:6379" for its head; None takes what RAY_ADDRESS
                names, or the cluster of this machine, or starts one here that ends with this
                process. A connection that the process has is used as it is.
            cpus: Processors that a group asks of Ray.
            gpus: GPUs that a group asks of Ray; below 1 a share of one. None asks for one where
                the lab's device is "cuda", else for none.
            workers: Most groups at a time; None means as many as the cluster has room for, so that
                one that grows with what waits needs a number.
            checkpoints: A folder, or any address that fsspec knows, that every machine of the
                cluster sees under this name.
            checkpoint_seconds: Least time between two checkpoints of a group, 3 if not said.

        Raises:
            ImportError: Ray is not installed.
        """
        _import_ray()
        _check_share("cpus", cpus)
        _check_share("gpus", 0.0 if gpus is None else gpus)
        if workers is not None:
            check_count("workers", workers)
        if checkpoints is not None:
            local = Files(checkpoints).local
            checkpoints = os.fspath(checkpoints) if local is None else str(local)
        self.address = address
        self.cpus = cpus
        self.gpus = gpus
        self.workers = workers
        self.checkpoints = checkpoints
        self.checkpoint_seconds = checkpoint_seconds

    def device(self, name: str) -> torch.device:
        """Return the device of the workers: a GPU where one, or a share of it, is asked of Ray."""
        check_choice("device", name, ("auto", "cpu", "cuda"))
        if name == "cuda" and self.gpus is None:
            self.gpus = 1.0
        if name == "cuda" and not self.gpus:
            raise ValueError(f"`gpus` must be above 0 for the device 'cuda'; got {self.gpus!r}.")
        return torch.device("cuda" if name != "cpu" and self.gpus else "cpu")

    def run(
        self, store: Store, groups: list[Group], *, device: torch.device, report: OnProgress
    ) -> None:
        """Train the groups."""
        ray = _import_ray()
        _join(self.address)
        asked = {"num_cpus": self.cpus, "num_gpus": self.gpus or 0.0}
        try:
            sweep = RaySweep(
                store,
                device=device,
                report=report,
                asked=asked,
                most_sent=self.workers,
                checkpoints=self.checkpoints,
                checkpoint_seconds=self.checkpoint_seconds,
            )
            try:
                sweep.run(groups)
            finally:
                sweep.close()
        except ray.exceptions.RayError as error:
            raise GengapError(
                f"The Ray cluster was lost ({_first_line(error)}) What is complete stays; run the "
                "same again to go on."
            ) from error


def _check_share(name: str, value: float) -> None:
    if not (0 <= value < 1 or (value >= 1 and float(value).is_integer())):
        raise ValueError(f"`{name}` must be a share below 1, 0, or a whole number; got {value!r}.")


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError(
            f"`RayEngine` needs the package {error.name!r}; install it with: pip install "
            "'gengap[ray]'."
        ) from error
    return ray


def _join(address: str | None) -> None:
    """Connect this process with the cluster, unless it is."""
    ray = _import_ray()
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells nobody
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"`address` must lead to a Ray cluster; got {address!r} ({_first_line(error)}) Start "
            "one with `ray start --head`, or leave the address out."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
