"""Property: only the weights move in the second phase; closed form: its bound by hand."""

import math

import pytest
import torch
from torch import nn

from gengap.capacity import fit_two_phase, gap_decomposition, two_phase_bound
from gengap.data import gaussian_clusters
from gengap.models import FrozenActivations, mlp, small_alexnet
from gengap.training import Recipe

pytestmark = pytest.mark.global_rng("torch")
TRAIN, TEST = (
    gaussian_clusters(120, dim=4, num_classes=2, separation=4.0, seed=0, half=half)
    for half in ("train", "test")
)
RECIPE = Recipe(epochs=5, batch_size=20, lr=0.05)


def build():
    return mlp((4,), 2, hidden=(8, 6))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), [(build, (4,)), (convolutional, (1, 8, 8))])
def test_it_starts_as_the_same_function_and_is_linear_in_its_last_weights(make, shape):
    model = make()
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    frozen = FrozenActivations(model).eval()
    model.eval()
    torch.testing.assert_close(frozen(x), model(x))
    first = next(p for p in frozen.values.parameters())
    with torch.no_grad():  # one layer's weights times -3: with ReLU that would not be a factor
        first *= -3
        bias = dict(frozen.values.named_parameters())
        for name, p in bias.items():
            if name.endswith("bias"):
                p.zero_()
        plain = FrozenActivations(model).eval()
        for name, p in plain.values.named_parameters():
            if name.endswith("bias"):
                p.zero_()
    torch.testing.assert_close(frozen(x), -3 * plain(x))


def test_the_second_phase_moves_values_alone_and_sees_the_rest_alone():
    found = fit_two_phase(build, TRAIN, share=0.25, test=TEST, recipe=RECIPE, seed=1)
    assert (len(found.first_part), len(found.rest)) == (30, 90)
    both = torch.cat([found.first_part.inputs, found.rest.inputs])
    assert len(both.unique(dim=0)) == len(TRAIN.inputs.unique(dim=0))
    frozen = found.second.model
    for (name, gate), (_, first) in zip(
        frozen.gates.named_parameters(), found.first.model.named_parameters(), strict=True
    ):
        assert torch.equal(gate, first), name
    moved = [
        (v - g).abs().max()
        for v, g in zip(frozen.values.parameters(), frozen.gates.parameters(), strict=True)
    ]
    assert min(moved) > 0
    assert found.second.final["test_accuracy"] > 0.8


def test_same_seed_same_numbers():
    runs = [fit_two_phase(build, TRAIN, share=0.5, recipe=RECIPE, seed=2) for _ in range(2)]
    assert runs[0].second.final["train_loss"] == runs[1].second.final["train_loss"]


def test_bound_by_hand_and_above_the_gap():
    found = fit_two_phase(build, TRAIN, share=0.5, recipe=RECIPE)
    model, rest = found.second.model, found.rest
    bound = two_phase_bound(model, rest, radius=2.0, confidence=0.9)
    feature = ((2.0**2 + 1) * 8 + 1) * 6 + 1
    w = bound.complexity
    log = math.log(3 / 0.1)
    said = (2 * math.sqrt(feature) * w + feature * w**2) * (1 + math.sqrt(2 * log)) / math.sqrt(60)
    assert bound.value == pytest.approx(said, rel=1e-9)
    gap = gap_decomposition(model, rest, TEST)
    assert gap.weight_norm == pytest.approx(w, rel=1e-9)
    assert gap.gap <= gap.bound <= two_phase_bound(model, rest).value


def test_what_does_not_fit_is_one_sentence():
    with pytest.raises(ValueError, match=r"`share` must lie between 0 and 1 .*; got 1.0 of 120"):
        fit_two_phase(build, TRAIN, share=1.0)
    with pytest.raises(ValueError, match="got Tanh as '1'"):
        FrozenActivations(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="got SameMaxPool2d as"):
        FrozenActivations(small_alexnet((3, 28, 28), 10))
