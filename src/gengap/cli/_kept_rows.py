"""Rows of a table that a run left behind when it was stopped."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from gengap._errors import StoreError
from gengap.data import Split
from gengap.lab import digest
from gengap.report import versions
from gengap.risk import Risk

_EXAMPLES = 100


@final
class KeptRows(MutableMapping[str, dict[str, Any]]):
    """Rows by name, in a file that is written anew with every row."""

    def __init__(self, file: Path, *, of: str) -> None:
        """Read the file, unless what it is of is another thing or it cannot be read."""
        self.file, self.of, self._rows = file, of, {}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["of"] == of:
                self._rows = {name: dict(row) for name, row in found["rows"].items()}

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._rows[name]

    def __setitem__(self, name: str, row: dict[str, Any]) -> None:
        self._rows[name] = row
        part = self.file.with_suffix(".part")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"of": self.of, "rows": self._rows}), encoding="utf-8")
            part.replace(self.file)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StoreError(
                f"`{self.file.parent}` must be a folder that can be written; got: {reason}."
            ) from error

    def __delitem__(self, name: str) -> None:
        del self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def remove(self) -> None:
        """Remove the file: the table is whole."""
        self.file.unlink(missing_ok=True)


def identity(risk: Risk, *others: Split | None, **settings: object) -> str:
    """Return a hash of a network, its loss on some examples, all examples and settings."""
    numbers = hashlib.blake2b(digest_size=16)
    for name, value in risk.model.state_dict().items():
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            numbers.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
            numbers.update(plain.flatten().view(torch.uint8).numpy().data)
    prints = [split.fingerprint() for split in (risk.split, *others) if split is not None]
    loss = repr(float(risk[:_EXAMPLES]()))
    said = {name: str(value) for name, value in settings.items()}
    return digest([numbers.hexdigest(), loss, prints, said, versions()])
