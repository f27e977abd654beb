"""Twin: statistics of whole models. Oracle: float64 autograd, one example at a time."""

import pytest
import torch

from gengap import Risk
from gengap.gradients import gradient_statistics
from tests.gradients.engine_models import MODELS, build
from tests.reference.per_example import gradients_one_by_one

pytestmark = [
    pytest.mark.global_rng("torch"),
    pytest.mark.filterwarnings("ignore:LSTM with projections"),
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_norms_and_sums(name, dtype, rtol):
    model, split = build(name)
    risk = Risk(model, split, dtype=dtype)
    found = gradient_statistics(risk)
    twin = gradients_one_by_one(risk.model, split.inputs, split.targets, risk.losses)
    assert list(found.sum) == list(twin) == list(risk.params)
    scale = max(float(g.abs().max()) for g in twin.values())
    total = torch.zeros(risk.n, dtype=torch.float64)
    for key, rows in twin.items():
        squares = rows.reshape(len(rows), -1).square().sum(1)
        total += squares
        near(found.block_squared_norms[key], squares, rtol, scale**2)
        near(found.sum[key], rows.sum(0), rtol, scale)
    near(found.squared_norms, total, rtol, 0.0)
    near(found.losses, risk.per_example(), 1e-6, 0.0)


def near(ours, theirs, rtol, scale):
    """Agree to rtol of the largest number compared; rounded zeros, to a tenth of it."""
    assert ours.dtype == torch.float64
    tolerance = rtol * float(theirs.abs().max()) + 0.1 * rtol * scale
    assert float((ours - theirs).abs().max()) <= tolerance
