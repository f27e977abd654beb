"""Where trials are kept: one folder a trial, complete once its result stands."""

import contextlib
import io
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from pyarrow import parquet
from safetensors import SafetensorError
from torch import Tensor

from gengap._errors import StoreError

from ._files import Files
from ._plain import digest
from ._trial import Trial

_PLAN = "plan.json"
_WHEN = [("epoch", pa.int64()), ("step", pa.int64())]
_SHARE, _TRIAL = ("share", pa.float64()), ("trial", pa.string())
_COLUMNS = {  # of the tables of no trial
    "history": [*_WHEN, _TRIAL],
    "coherence": [
        *_WHEN, ("layer", pa.string()), ("group", pa.string()), ("examples", pa.int64()),
        ("m_coherence", pa.float64()), ("alpha", pa.float64()), _SHARE, ("loss", pa.float64()),
        _TRIAL,
    ],
    "null_worlds": [*_WHEN, ("world", pa.int64()), _SHARE, _TRIAL],
    "examples": [("example", pa.int64()), _TRIAL],
}  # fmt: skip


class Store:
    """Where trials are kept.

    - `trials/ID/`: `trial.json`, `history.parquet`, `weights.safetensors` and, last, `result.json`;
      `coherence.parquet`, `null_worlds.parquet`, `examples.parquet` where asked for;
      `NAME-HASH.json`, what was measured of the trained network.
    - `plan.json`: groups about to be recorded; there for a moment.
    - `groups/ID/`: `group.json` (which trials train together), `checkpoint.safetensors`.
    - `locks/`: who is at work on which group (local stores).

    Nothing is unpickled: JSON, Parquet and safetensors only.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self.files = Files(address)

    # Trials

    def trial_ids(self) -> list[str]:
        """Return the ids of all trials in the store."""
        return self.files.names("trials")

    def is_complete(self, trial: str) -> bool:
        """Return whether the trial's result stands."""
        return self.files.exists(f"trials/{trial}/result.json")

    def begin(self, trial: Trial) -> None:
        """Write the trial's specification, or check that the one there is the same.

        Whoever calls this holds the trial's group: what is half written there is swept away.
        """
        self.files.sweep(f"trials/{trial.id}")
        if not self.check(trial):
            self.files.write_json(f"trials/{trial.id}/trial.json", trial.spec)

    def check(self, trial: Trial) -> bool:
        """Return whether the trial's specification is there; it must be the same."""
        name = f"trials/{trial.id}/trial.json"
        if not self.files.exists(name):
            return False
        if self.files.read_json(name) != trial.spec:
            raise StoreError(
                f"`{self.files.path(name)}` must hold the specification of trial {trial.id}; it "
                "was edited. Remove the folder to run the trial again."
            )
        return True

    def finish(
        self,
        trial: str,
        *,
        rows: Sequence[dict[str, float]],
        weights: dict[str, Tensor],
        status: str,
        reason: str,
        group: str,
        frames: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        """Write what came out of a trial, `frames` as further tables; the result last."""
        if self.is_complete(trial):
            return
        folder = f"trials/{trial}"
        history = pd.DataFrame(rows).astype({"epoch": int, "step": int})
        for name, frame in {"history": history, **(frames or {})}.items():
            content = io.BytesIO()
            frame.to_parquet(content, index=False)
            self.files.write(f"{folder}/{name}.parquet", content.getvalue())
        self.files.write(f"{folder}/weights.safetensors", _packed(weights))
        final = {k: v if math.isfinite(v) else None for k, v in rows[-1].items()}
        result = {
            "status": status,
            "reason": reason,
            "final": final,
            "group": group,
            "versions": versions(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.files.write_json(f"{folder}/result.json", result)
        self.files.remove(f"{folder}/failure.json")

    def fail(self, trial: str, reason: str) -> None:
        """Write why a trial failed; it is not complete and will be tried again."""
        self.files.write_json(f"trials/{trial}/failure.json", {"reason": reason})

    def spec(self, trial: str) -> dict[str, Any]:
        """Return a trial's specification, whose hash must be its id."""
        name = f"trials/{trial}/trial.json"
        found = self.files.read_json(name)
        if not isinstance(found, dict) or digest(found) != trial:
            raise StoreError(
                f"`{self.files.path(name)}` must hold the specification of trial {trial}; it "
                "was edited. Remove the trial's folder to run it again."
            )
        return found

    def result(self, trial: str) -> dict[str, Any]:
        """Return a complete trial's result."""
        name = f"trials/{trial}/result.json"
        found = self.files.read_json(name)
        if not _is_result(found):
            raise StoreError(
                f"`{self.files.path(name)}` must hold status, reason and final numbers; it was "
                "edited. Remove the trial's folder to run it again."
            )
        return found

    def failure(self, trial: str) -> str | None:
        """Return why a trial failed, or None where it did not."""
        name = f"trials/{trial}/failure.json"
        if not self.files.exists(name):
            return None
        found = self.files.read_json(name)
        return str(found.get("reason")) if isinstance(found, dict) else str(found)

    def history(self, trial: str) -> pd.DataFrame:
        """Return a complete trial's history."""
        return self.table(trial, "history")

    def table(self, trial: str, table: str) -> pd.DataFrame:
        """Return a table of a complete trial."""
        found: pd.DataFrame = self.arrow(trial, table).to_pandas()
        return found

    def arrow(self, trial: str, table: str) -> pa.Table:
        """Return a table of a complete trial as it is stored."""
        name = f"trials/{trial}/{table}.parquet"
        content = self.files.read(name)
        try:
            return parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        except Exception as error:
            raise StoreError(
                f"`{self.files.path(name)}` must be a whole Parquet file; it is cut off or was "
                "edited. Remove the trial's folder to run it again."
            ) from error

    def joined(self, trials: Sequence[str], table: str) -> pd.DataFrame:
        """Return a table of complete trials, one under the other, with a column `trial`."""
        parts = []
        for trial in trials:
            part = self.arrow(trial, table)
            names = pa.array([trial]).take(pa.array([0] * len(part), pa.int64()))
            parts.append(part.append_column("trial", names))
        parts = parts or [pa.schema(_COLUMNS[table]).empty_table()]
        whole = pa.concat_tables(parts, promote_options="permissive")
        found: pd.DataFrame = whole.replace_schema_metadata().to_pandas()
        return found

    def weights(self, trial: str) -> dict[str, Tensor]:
        """Return a complete trial's weights."""
        return self._tensors(f"trials/{trial}/weights.safetensors")[0]

    # Groups

    def groups(self) -> dict[str, list[str]]:
        """Return the recorded groups: which trials train together; damaged records left out."""
        found = {}
        for name in self.files.names("groups"):
            with contextlib.suppress(StoreError):
                members = self.files.read_json(f"groups/{name}/group.json")
                if isinstance(members, list) and all(isinstance(m, str) for m in members):
                    found[name] = members
        return found

    def record_group(self, group: str, trials: Sequence[str]) -> None:
        """Write which trials train together, before they do."""
        self.files.write_json(f"groups/{group}/group.json", list(trials))

    def record_groups(self, groups: dict[str, list[str]]) -> None:
        """Write several groups, all or none: if this is cut off, `finish_recording` ends it."""
        self.files.write_json(_PLAN, groups)
        self.finish_recording()

    def finish_recording(self) -> None:
        """Record the groups of a plan that was cut off, lest its rest be packed otherwise."""
        if self.files.exists(_PLAN):
            with contextlib.suppress(AttributeError, TypeError):  # edited: the trials can tell it
                for group, trials in self._cut_off().items():
                    self.record_group(group, trials)
            self.files.remove(_PLAN)

    def _cut_off(self) -> dict[str, list[str]]:
        try:
            return self.files.read_json(_PLAN)
        except StoreError:
            return {}

    def is_recorded(self, group: str) -> bool:
        """Return whether the group is to be trained: recorded, and not yet removed."""
        return self.files.exists(f"groups/{group}/group.json")

    def remove_group(self, group: str) -> None:
        """Forget a group, and its lock, which the caller holds."""
        self.files.remove(f"groups/{group}")
        with contextlib.suppress(StoreError):  # an open file cannot be removed everywhere
            self.files.remove(f"locks/{group}.lock")

    def sweep(self, group: str, trials: Sequence[str]) -> None:
        """Remove what ended processes left half-written of a group that nobody is at."""
        if not self.files.exists(f"locks/{group}.lock"):
            return
        with self.claimed(group) as ours:
            if ours:
                for folder in (f"groups/{group}", *(f"trials/{trial}" for trial in trials)):
                    self.files.sweep(folder)

    def save_checkpoint(self, group: str, tensors: dict[str, Tensor], plain: object) -> None:
        """Write from where a group goes on; replaces the last checkpoint whole."""
        metadata = {"state": json.dumps(plain)}
        self.files.write(f"groups/{group}/checkpoint.safetensors", _packed(tensors, metadata))

    def checkpoint(self, group: str) -> tuple[dict[str, Tensor], Any] | None:
        """Return the last checkpoint of a group, or None; a damaged one counts as none."""
        name = f"groups/{group}/checkpoint.safetensors"
        if not self.files.exists(name):
            return None
        try:
            tensors, metadata = self._tensors(name)
            return tensors, json.loads(metadata["state"])
        except (StoreError, KeyError, ValueError):
            return None

    @contextlib.contextmanager
    def claimed(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold a lock while at work on something; yields whether it was free.

        The lock falls when its process ends, however it ends. A store that is not a local folder
        has no locks: let one process at a time write it.
        """
        if self.files.local is None:
            yield True
            return
        path = self.files.local / "locks" / f"{name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=-1 if wait else 0)
            lock.acquire()
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StoreError(f"`{path}` cannot be locked: {reason}.") from error
        try:
            yield True
        finally:
            lock.release()

    def _tensors(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        content = self.files.read(name)
        try:
            size = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
            return safetensors.torch.load(content), metadata
        except (SafetensorError, ValueError, AttributeError) as error:
            raise StoreError(
                f"`{self.files.path(name)}` must be a whole safetensors file; it is cut off or "
                "was edited. Remove the trial's folder to run it again."
            ) from error


def _packed(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(own, metadata)


def _is_result(found: object) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("status"), str)
        and isinstance(found.get("reason"), str)
        and isinstance(found.get("final"), dict)
        and all(isinstance(value, int | float | None) for value in found["final"].values())
    )


def versions() -> dict[str, str]:
    """Return the versions of gengap, PyTorch and Python, and the machine's architecture."""
    from gengap import __version__

    return {
        "gengap": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
