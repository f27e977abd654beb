"""Closed form: stability of ridge regression, whose solution is known with any example changed.

Oracle: normal equations solved anew; leave-one-out residuals from the hat matrix; the mean of a
sample, whose uniform stability is known; the theorem's bound by hand.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gengap import Recipe, models
from gengap.capacity import leave_one_out, replace_one
from gengap.data import Split
from gengap.training import Packing

N, D, DECAY = 24, 3, 0.2
TOGETHER = Packing(64, 1, "A test.")
TO_THE_END = Recipe(
    epochs=400, batch_size=N, lr=0.25, momentum=0.5, weight_decay=DECAY, loss="squared_error",
    evaluate_every=400,
)  # fmt: skip


def noisy_line(n=N + 8):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, D, generator=g, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    return x, y + 0.3 * torch.randn(n, 1, generator=g, dtype=torch.float64)


def line():
    return nn.Linear(D, 1, bias=False, dtype=torch.float64)


def ridge(x, y):
    n = len(x)
    return torch.linalg.solve(x.T @ x / n + DECAY * torch.eye(D, dtype=x.dtype), x.T @ y / n)


def half_squares(w, x, y):
    return 0.5 * (x @ w - y).square()[:, 0]


def test_replacing_one_in_ridge_regression_is_the_closed_form():
    x, y = noisy_line()
    split = Split(inputs=x[:N], targets=y[:N])
    fresh = Split(inputs=x[N:], targets=y[N:])
    found = replace_one(
        line, split, fresh, examples=8, test=fresh, recipe=TO_THE_END, loss="squared_error",
        packing=TOGETHER,
    )  # fmt: skip
    whole = half_squares(ridge(x[:N], y[:N]), x, y)
    for k, i in enumerate(found.indices.tolist()):
        z, t = x[:N].clone(), y[:N].clone()
        z[i], t[i] = x[N + k], y[N + k]
        moved = half_squares(ridge(z, t), x, y) - whole
        assert float(found.changes[k]) == pytest.approx(float(moved[i]), abs=1e-9)
        assert float(found.peaks[k]) == pytest.approx(float(moved.abs().max()), abs=1e-9)
        assert float(found.shifts[k]) == pytest.approx(float(moved.abs().mean()), abs=1e-9)
    assert found.gap == pytest.approx(float(whole[N:].mean() - whole[:N].mean()))
    assert found.uniform == pytest.approx(float(found.peaks.max()))
    assert found.seed_shift < 1e-9, "the minimum does not depend on the seed"
    assert math.isnan(found.gap_bound) and found.vacuous and "no bound follows" in found.sentence


def test_leaving_one_out_of_ridge_regression_is_the_hat_matrix():
    x, y = (part[:N] for part in noisy_line())
    recipe = replace(TO_THE_END, weight_decay=DECAY * N / (N - 1))
    found = leave_one_out(
        line, Split(inputs=x, targets=y), examples=[0, 5, 23], recipe=recipe,
        loss="squared_error", packing=TOGETHER,
    )  # fmt: skip
    penalty = DECAY * N / (N - 1)
    for k, i in enumerate([0, 5, 23]):
        gram = x.T @ x + penalty * (N - 1) * torch.eye(D, dtype=x.dtype)
        hat = x @ torch.linalg.solve(gram, x.T)
        residual = (y - hat @ y)[i, 0] / (1 - hat[i, i])
        w = torch.linalg.solve(x.T @ x / N + penalty * torch.eye(D, dtype=x.dtype), x.T @ y / N)
        wanted = 0.5 * residual**2 - half_squares(w, x, y)[i]
        assert float(found.changes[k]) == pytest.approx(float(wanted), abs=1e-9)
    assert found.indices.tolist() == [0, 5, 23] and math.isnan(found.gap)


def blobs(n, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = torch.nn.functional.one_hot(y, 4).float() + 0.8 * torch.randn(n, 4, generator=g)
    return Split(inputs=x, targets=y, num_classes=3)


def test_errors_have_a_bound_and_it_is_vacuous():
    split, fresh = blobs(40, 0), blobs(40, 1)
    found = replace_one(
        lambda: models.mlp((4,), 3, hidden=(16,)), split, fresh, examples=6, test=fresh,
        recipe=Recipe(epochs=5, lr=0.1, batch_size=8),
    )  # fmt: skip
    assert set(found.changes.tolist()) <= {-1.0, 0.0, 1.0}
    assert found.on_average == pytest.approx(float(found.changes.mean()))
    spread = math.sqrt(math.log(20) / 80)
    assert found.gap_bound == pytest.approx(found.uniform + (2 * 40 * found.uniform + 1) * spread)
    assert found.vacuous == (found.gap_bound >= 1)
    assert ("vacuous, as no gap" in found.sentence) == found.vacuous
    assert "replace-one" in repr(found)


def test_an_example_replaced_by_itself_changes_nothing():
    split = blobs(30, 0)
    found = replace_one(
        lambda: models.mlp((4,), 3, hidden=(8,)), split, split[[3, 7]], examples=[3, 7],
        recipe=Recipe(epochs=3, lr=0.1, batch_size=8), loss="cross_entropy",
    )  # fmt: skip
    assert found.uniform == pytest.approx(0, abs=1e-5) and found.seed_shift > 1e-2


def test_the_mean_of_a_sample_has_its_known_stability():
    g = torch.Generator().manual_seed(2)
    y = torch.rand(10, 1, generator=g, dtype=torch.float64)
    one = torch.ones(10, 1, dtype=torch.float64)
    recipe = Recipe(epochs=80, batch_size=10, lr=0.5, momentum=0.0, loss="squared_error")
    found = leave_one_out(
        lambda: nn.Linear(1, 1, bias=False, dtype=torch.float64),
        Split(inputs=one, targets=y), examples=10, recipe=recipe, loss="squared_error",
        packing=TOGETHER,
    )  # fmt: skip
    mean = y.mean()
    wanted = 0.5 * ((y - mean) * 10 / 9).square() - 0.5 * (y - mean).square()
    torch.testing.assert_close(found.changes, wanted[:, 0], atol=1e-10, rtol=0)


def test_what_cannot_be_is_one_sentence():
    split = blobs(6, 0)
    build = lambda: models.linear((4,), 3)  # noqa: E731
    with pytest.raises(ValueError, match="`examples` must be at most the 6 of the split; got 7"):
        leave_one_out(build, split, examples=7)
    with pytest.raises(ValueError, match="must be indices from 0 to 5"):
        leave_one_out(build, split, examples=[6])
    with pytest.raises(ValueError, match="an example for each of the 3 replaced; got 2"):
        replace_one(build, split, split[:2], examples=3)
    with pytest.raises(ValueError, match="two examples or more"):
        leave_one_out(build, split[:1], examples=1)
    x, y = noisy_line()
    with pytest.raises(ValueError, match="for real targets"):
        leave_one_out(line, Split(inputs=x, targets=y), examples=1)
