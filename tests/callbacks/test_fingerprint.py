"""Property: examples of equal contents have one fingerprint, others another, drawn ones none."""

import numpy as np
import pytest
import torch

from gengap.callbacks._fingerprint import fingerprint

ITEMS = {
    "tensors": lambda i, n: (torch.full((3,), float(i)), n),
    "half precision": lambda i, n: {"x": torch.full((3,), i + n, dtype=torch.bfloat16)},
    "arrays": lambda i, n: [np.arange(i, i + 3), {"y": n}],
    "texts": lambda i, n: {"text": f"number {i}", "label": n},
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
@pytest.mark.parametrize("n", [1, 5, 100])
def test_contents_decide(item, n):
    data, again, other = ([item(i, label) for i in range(n)] for label in (0, 0, 1))
    assert fingerprint(data) == fingerprint(again) != ""
    assert fingerprint(data) != fingerprint(other)


class Drawn(list):
    def __getitem__(self, i):
        return torch.randn(3, generator=GENERATOR), 0


GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("data", [[], Drawn(range(9)), {"a": 1}, [object()] * 3])
def test_what_cannot_be_told_has_none(data):
    assert fingerprint(data) == ""
