"""What every test can count on: one thread, a known random state, real data or a skip."""

import os
import random
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import sklearn.datasets  # noqa: F401  (draws from `random` when it is first imported)
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Skip what cannot run here: no CUDA device, no real data."""
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    no_data = pytest.mark.skip(reason="needs the real data sets: set GENGAP_DATA to their folder")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if item.get_closest_marker("data") and _data_root() is None:
            item.add_marker(no_data)


def _data_root():
    folder = os.environ.get("GENGAP_DATA", "")
    path = Path(folder).expanduser()
    return path if folder and path.is_dir() else None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real data sets; skips the test where there is none."""
    folder = _data_root()
    if folder is None:
        pytest.skip("needs the real data sets: set GENGAP_DATA to their folder")
    return folder


@pytest.fixture(autouse=True)
def global_rng(request):
    """Start every test from one random state, and fail it if it leaves another.

    `pytest.mark.global_rng` frees a test from that, `pytest.mark.global_rng("torch")` for one
    generator: a test that makes modules the way PyTorch does, from the default generator.
    """
    _set_global_rng()
    before = _global_rng()
    yield
    after = _global_rng()
    marks = list(request.node.iter_markers("global_rng"))
    freed = {name for mark in marks for name in (mark.args or before)}
    changed = [name for name in before if name not in freed and before[name] != after[name]]
    assert not changed, f"the global random state changed: {', '.join(changed)}"


def _set_global_rng():
    """Set a state that no seeding by accident would produce: drawn from once after seeding."""
    torch.manual_seed(8191)
    torch.rand(3)
    np.random.seed(8191)  # noqa: NPY002
    np.random.rand(3)  # noqa: NPY002
    random.seed(8191)
    random.random()


def _global_rng():
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state(legacy=False)),  # noqa: NPY002
        "random": repr(random.getstate()),
    }
