"""Pictures of suspicious examples, each with its given and its suggested label."""

import numpy as np
import pandas as pd
import torch

from gengap.data import Split
from gengap.report import Gallery

_MOST_PIXELS = 256 * 256
_A_LABEL, _MOST_LABELS = 12, 20


def most_suspicious(ranking: pd.DataFrame, split: Split, *, top: int) -> list[Gallery]:
    """Return the pictures of the first of the ranking, and of the last few beside them."""
    if not _are_images(split):
        return []
    first, last = ranking[:top], ranking[-_A_LABEL:][::-1]
    sure = [f"{_called(row)}: {row['given']}" for row in last.to_dict("records")]
    rows = [
        _row("Most suspicious", first, split),
        ("Least suspicious", _pixels(split, last["example"].to_numpy()), sure),
    ]
    what = "File" if "file" in ranking else "Row in the data set"
    known = " Of a changed label, what it was." if "changed" in ranking else ""
    return [
        Gallery(
            name="most-suspicious",
            rows=rows,
            caption=f"{what}: given label → suggested label?{known}",
        )
    ]


def by_label(ranking: pd.DataFrame, split: Split) -> list[Gallery]:
    """Return the pictures of the most suspicious examples of each given label."""
    names = list(dict.fromkeys(ranking.sort_values("example")["given"]))
    if not _are_images(split) or len(names) > _MOST_LABELS:
        return []
    order = split.class_names or sorted(names)
    rows = [
        _row(str(name), ranking[ranking["given"] == name][:_A_LABEL], split)
        for name in order
        if name in names
    ]
    return [Gallery(name="by-label", rows=rows, caption="The most suspicious of each given label.")]


def _are_images(split: Split) -> bool:
    shape = split.inputs.shape[1:]
    return len(split.input_shape) == 3 and torch.Size(shape).numel() <= 4 * _MOST_PIXELS


def _row(title: str, rows: pd.DataFrame, split: Split) -> tuple[str, np.ndarray, list[str]]:
    captions = [_caption(row) for row in rows.to_dict("records")]
    return title, _pixels(split, rows["example"].to_numpy()), captions


def _pixels(split: Split, examples: np.ndarray) -> np.ndarray:
    raw = split.gather(torch.from_numpy(examples.copy()))
    raw = split.preprocessing.cropped(raw).cpu()
    if not raw.is_floating_point() and split.preprocessing.scale not in (1, 255):
        raw = raw.float() / split.preprocessing.scale
    return raw.numpy()


def _called(row: dict) -> str:
    """Return what an example is called: its file, without the folder, or its row."""
    return str(row.get("file", row["example"])).rpartition("/")[2]


def _caption(row: dict) -> str:
    text = f"{_called(row)}: {row['given']}\n→ {row['suggested']}?"
    return f"{text}\nwas {row['true']}" if row.get("changed") else text
