"""What is computed from complete trials, or from no trial at all, and kept in the store."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch

from gengap._errors import StoreError
from gengap.training import map_processes, send_message

from ._group import Progress
from ._plain import digest, plain
from ._store import Store, versions
from ._trial import Trial

Values = dict[str, Any]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """Something to compute once, from a trial that is complete or from none.

    Attributes:
        trial: In whose folder it is kept; None where nothing is trained, such as for a kernel.
        name: What it is, in letters, digits and hyphens.
        options: Plain data that, with the trial and the name, decide the values. What other
            trials go in is said here by their ids.
        compute: Returns the values: numbers, text, lists and mappings of these. What is not
            finite is kept as None.
    """

    trial: Trial | None = None
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    compute: Callable[[], Mapping[str, Any]] = field(repr=False)

    @property
    def file(self) -> str:
        """Where in a store it is kept."""
        folder = "measurements" if self.trial is None else f"trials/{self.trial.id}"
        return f"{folder}/{self.name}-{digest(plain(self.options))}.json"


def measured(store: Store, measurement: Measurement) -> Values | None:
    """Return the values of a measurement, or None where they have not been computed.

    Raises:
        StoreError: The file was edited.
    """
    name = measurement.file
    if not store.files.exists(name):
        return None
    found = store.files.read_json(name)
    if not (isinstance(found, dict) and isinstance(found.get("values"), dict)):
        raise StoreError(
            f"`{store.files.path(name)}` must hold the values of a measurement; it was edited. "
            "Remove it to measure again."
        )
    values: Values = found["values"]
    return values


def measure(
    store: Store,
    missing: Sequence[Measurement],
    *,
    workers: int,
    report: Callable[[Progress], None],
) -> None:
    """Compute measurements and write each as it ends, in forked processes of one thread each."""

    def take(measurement: Measurement) -> Progress:
        if measured(store, measurement) is None:  # else another process was faster
            _write(store, measurement)
        return Progress(group=measurement.file, epoch=1, epochs=1, finished=1, trials=1)

    if workers > 1 and len(missing) > 1:
        map_processes(
            lambda one: send_message(take(one)),
            missing,
            workers=workers,
            on_message=report,  # type: ignore[arg-type]
        )
        return
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for measurement in missing:
            report(take(measurement))
    finally:
        torch.set_num_threads(threads)


def _write(store: Store, measurement: Measurement) -> None:
    start = time.perf_counter()
    values = _finite(measurement.compute())
    store.files.write_json(
        measurement.file,
        {
            "name": measurement.name,
            "options": plain(measurement.options),
            "values": values,
            "seconds": time.perf_counter() - start,
            "versions": versions(),
        },
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
