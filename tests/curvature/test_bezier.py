"""Closed form: the bend of a quadratic risk; twin: plain passes; property: connected twins."""

import math

import pytest
import torch
from torch import nn

import gengap
from gengap.curvature import Profile, bezier, line, mode_connectivity
from gengap.data import Split, gaussian_clusters
from gengap.models import mlp, resnet
from tests.curvature.test_paths import drawn, mixed, other, seeded


def profile(losses, accuracies=None):
    values = torch.tensor(losses, dtype=torch.float64)
    return Profile(
        kind="line",
        alphas=torch.linspace(0, 1, len(losses), dtype=torch.float64),
        losses={"train": values},
        accuracies={"train": torch.tensor(accuracies or [math.nan] * len(losses)).double()},
        length=1.0,
    )


def test_connectivity_is_below_zero_for_a_barrier_and_above_for_a_valley():
    barrier = mode_connectivity(profile([1.0, 5.0, 2.0, 3.0]))
    assert (barrier.value, barrier.alpha) == pytest.approx((-3.0, 1 / 3))
    assert mode_connectivity(profile([3.0, 1.0, 2.0, 3.0])).value == 2.0
    assert mode_connectivity(profile([1.0, 2.0, 3.0])).value == pytest.approx(1.0)
    errors = profile([0.0, 0.0, 0.0], [1.0, 0.4, 0.9])
    assert float(mode_connectivity(errors, quantity="error")) == pytest.approx(-0.55)
    assert math.isnan(mode_connectivity(profile([0.0, math.inf, 0.0])).value)


def test_connectivity_needs_both_ends():
    found = profile([1.0, 2.0])
    cut = Profile(
        kind="line",
        alphas=torch.tensor([0.0, 0.5], dtype=torch.float64),
        losses=found.losses,
        accuracies=found.accuracies,
        length=1.0,
    )
    with pytest.raises(ValueError, match="`profile` must have been read at alpha 0 and 1"):
        mode_connectivity(cut)
    with pytest.raises(ValueError, match="`quantity` must be one of"):
        mode_connectivity(found, quantity="accuracy")
    with pytest.raises(ValueError, match="`half` must be one of"):
        mode_connectivity(found, half="test")


def test_the_bend_of_a_quadratic_risk_minimizes_the_mean_over_the_curve():
    x = drawn(12, 4)
    x = torch.linalg.qr(x)[0] * 12**0.5
    split = Split(inputs=x, targets=drawn(12, 2, seed=1))
    model = seeded(lambda: nn.Linear(4, 2, bias=False).double())
    risk = gengap.Risk(model, split, loss="squared_error")
    start, end = other(risk, 5), other(risk, 50)
    least = (split.batch()[1].T @ x) / 12
    expected = least - 0.75 * (start["weight"] + end["weight"] - 2 * least)
    found = bezier(risk, start, end, steps=400, batch_size=12, lr=0.1)
    assert float((found.bend["weight"] - expected).abs().max()) < 0.1
    middle = (start["weight"] + end["weight"]) / 2
    assert float((middle - expected).abs().max()) > 0.5


def test_readings_are_plain_passes_at_points_of_the_curve():
    split = gaussian_clusters(40, dim=6, num_classes=3, separation=2.0, seed=0)
    models = [seeded(lambda: mlp((6,), 3, hidden=(8,)), seed) for seed in (0, 1)]
    risk = gengap.Risk(models[0], split, chunk=7)
    before = {name: value.clone() for name, value in risk.model.state_dict().items()}
    found = bezier(risk, *models, steps=20, alphas=[0, 0.3, 1], test=split)
    ends = [dict(model.named_parameters()) for model in models]
    for place, t in enumerate((0.0, 0.3, 1.0)):
        at = mixed(((1 - t) ** 2, 2 * t * (1 - t), t**2), [ends[0], found.bend, ends[1]])
        expected = float(risk({name: value.detach().float() for name, value in at.items()}))
        assert float(found.profile.losses["train"][place]) == pytest.approx(expected, rel=1e-5)
    assert torch.equal(found.profile.losses["train"], found.profile.losses["test"])
    assert found.history.shape == (20,)
    assert found.profile.kind == "bezier"
    straight = line(risk, *models, alphas=[0, 0.3, 1])
    torch.testing.assert_close(found.straight.losses["train"], straight.losses["train"])
    assert found.straight.length == straight.length
    after = risk.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    again = bezier(risk, *models, steps=20, alphas=[0, 0.3, 1])
    assert torch.equal(again.history, found.history)
    assert bool((found.bend["1.weight"] != mixed((0.5, 0.5), ends)["1.weight"]).any())


def test_steps_are_those_of_adam():
    from gengap.curvature._bezier import _direction

    start = drawn(5)
    ours, theirs = start.clone(), start.clone().requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=0.1)
    moments = torch.zeros(2, 5, dtype=torch.float64)
    for step in range(1, 8):
        slope = ours.sin() * step
        theirs.grad = theirs.detach().sin() * step
        optimizer.step()
        ours = ours - 0.1 * _direction(slope, *moments, step)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-9, atol=1e-12)


def test_without_steps_it_is_the_straight_line():
    split = gaussian_clusters(20, dim=6, num_classes=3, separation=2.0, seed=0)
    models = [seeded(lambda: mlp((6,), 3, hidden=(8,)), seed) for seed in (0, 1)]
    found = bezier(gengap.Risk(models[0], split), *models, steps=0)
    torch.testing.assert_close(found.profile.losses, found.straight.losses)
    assert len(found.history) == 0


def test_training_connects_a_network_with_its_twin_of_exchanged_units():
    split = gaussian_clusters(60, dim=5, num_classes=3, separation=3.0, seed=0)
    recipe = gengap.Recipe(epochs=40, batch_size=20, lr=0.1)
    model = gengap.fit(seeded(lambda: mlp((5,), 3, hidden=(24,))), split, recipe=recipe).model
    twin = seeded(lambda: mlp((5,), 3, hidden=(24,)))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        twin[1].weight.copy_(model[1].weight[order])
        twin[1].bias.copy_(model[1].bias[order])
        twin[-1].weight.copy_(model[-1].weight[:, order])
        twin[-1].bias.copy_(model[-1].bias)
    risk = gengap.Risk(model, split)
    found = bezier(risk, model, twin, steps=300, lr=0.03)
    straight, trained = (mode_connectivity(one).value for one in (found.straight, found.profile))
    assert straight < -0.02
    assert trained > straight / 4
    ends = found.profile.losses["train"][[0, -1]]
    assert float(ends[0]) == pytest.approx(float(ends[1]), rel=1e-5)


def test_batch_norm_follows_the_batch_in_training_and_is_recomputed_in_reading():
    x = torch.rand(21, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=x, targets=torch.arange(21) % 3, num_classes=3)
    models = [seeded(lambda: resnet((1, 8, 8), 3, depth=8, width=4), s) for s in (0, 1)]
    risk = gengap.Risk(models[0], split)
    before = {name: value.clone() for name, value in risk.model.state_dict().items()}
    found = bezier(risk, *models, steps=3, batch_size=8, alphas=[0.0, 0.5, 1.0])
    exact = line(risk, *models, alphas=[0.0, 0.5, 1.0])
    torch.testing.assert_close(found.straight.losses, exact.losses)
    kept = bezier(risk, *models, steps=3, batch_size=8, alphas=[0.5], batch_norm="keep")
    assert float(kept.profile.losses["train"]) != float(found.profile.losses["train"][1])
    after = risk.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": -1}, "`steps` must be a whole number"),
        ({"batch_size": 1}, "`batch_size` must be a whole number of at least 2"),
        ({"lr": 0.0}, "`lr` must be positive"),
        ({"alphas": [math.nan]}, "`alphas` must be a row of finite numbers"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(options, said):
    split = gaussian_clusters(20, dim=6, num_classes=3, separation=2.0, seed=0)
    model = seeded(lambda: mlp((6,), 3, hidden=(4,)))
    with pytest.raises(ValueError, match=said):
        bezier(gengap.Risk(model, split), None, model, **options)
