"""Closed form: paths and surfaces. Oracles: quadratic risks, plain forward passes at each point."""

import math

import pytest
import safetensors.torch
import torch
from torch import nn

import gengap
from gengap.curvature import (
    Profile,
    barrier,
    curve,
    line,
    monotonicity,
    plane,
    plane_along,
    quad,
    trajectory,
    triangle,
)
from gengap.data import Split, gaussian_clusters
from gengap.models import mlp


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def quadratic():
    split = Split(inputs=drawn(9, 4), targets=drawn(9, 2, seed=1))
    model = seeded(lambda: nn.Linear(4, 2).double())
    return gengap.Risk(model, split, loss="squared_error", chunk=4)


@pytest.fixture
def classes():
    halves = {
        half: gaussian_clusters(40, dim=6, num_classes=3, separation=2.0, seed=0, half=half)
        for half in ("train", "test")
    }
    build = lambda: mlp((6,), 3, hidden=(8,))  # noqa: E731
    models = [seeded(build, seed) for seed in range(4)]
    return halves["train"], halves["test"], models


def other(risk, seed):
    return {
        name: value + drawn(*value.shape, seed=seed + turn)
        for turn, (name, value) in enumerate(risk.params.items())
    }


def mixed(weights, points):
    return {
        name: sum(w * dict(p)[name] for w, p in zip(weights, points, strict=True))
        for name in points[0]
    }


def plain_reading(model, point, split):
    """Loss and accuracy of a model with its parameters set to a point, in one plain pass."""
    twin = seeded(lambda: mlp((6,), 3, hidden=(8,)))
    twin.load_state_dict({name: value.float() for name, value in point.items()})
    x, y = split.batch()
    outputs = twin.eval()(x).detach()
    loss = nn.functional.cross_entropy(outputs, y)
    return float(loss), float((outputs.argmax(1) == y).float().mean())


def test_a_quadratic_risk_is_a_parabola_along_a_line(quadratic):
    start, end = other(quadratic, 5), other(quadratic, 50)
    found = line(quadratic, start, end, alphas=[0.0, 1.0, 2.0, -1.0, 0.3])
    assert found.alphas.tolist() == [-1.0, 0.0, 0.3, 1.0, 2.0]
    j = dict(zip(found.alphas.tolist(), found.losses["train"].tolist(), strict=True))
    for place in (0.0, 1.0):
        assert j[place] == pytest.approx(quadratic(mixed((1 - place, place), [start, end])))
    a = (j[2.0] - 2 * j[1.0] + j[0.0]) / 2
    b = j[1.0] - j[0.0] - a
    for alpha, value in j.items():
        assert value == pytest.approx(a * alpha**2 + b * alpha + j[0.0], rel=1e-12)
    assert math.isnan(float(found.accuracies["train"][0]))
    square = sum(float((end[k] - start[k]).square().sum()) for k in start)
    assert found.length == pytest.approx(math.sqrt(square), rel=1e-12)
    assert barrier(found).value == 0


def test_a_line_between_modules_reads_both_halves_as_plain_passes_do(classes):
    train, test, (first, second, *_) = classes
    risk = gengap.Risk(first, train, chunk=7)
    calls = []
    found = line(risk, None, second, test=test, progress=lambda *at: calls.append(at))
    ends = [dict(m.named_parameters()) for m in (first, second)]
    for turn, alpha in enumerate(found.alphas.tolist()):
        for half, split in (("train", train), ("test", test)):
            loss, accuracy = plain_reading(first, mixed((1 - alpha, alpha), ends), split)
            assert float(found.losses[half][turn]) == pytest.approx(loss, rel=1e-5)
            assert float(found.accuracies[half][turn]) == pytest.approx(accuracy, abs=1e-6)
    assert calls == [(k, 25) for k in range(1, 26)]
    frame = found.frame()
    assert list(frame.columns) == ["alpha", "half", "loss", "accuracy"]
    assert len(frame) == 50
    assert torch.equal(risk.params["1.weight"], first[1].weight)


def test_the_curved_path_is_the_papers(quadratic):
    start, end = other(quadratic, 5), other(quadratic, 50)
    found = curve(quadratic, start, end, alphas=[0, 0.25, 1, 1.5])
    for alpha, value in zip(found.alphas.tolist(), found.losses["train"].tolist(), strict=True):
        angle = alpha * math.pi / 2
        expected = quadratic(mixed((math.cos(angle), math.sin(angle)), [start, end]))
        assert value == pytest.approx(expected, rel=1e-12)


def test_one_forward_pass_a_point_and_half(classes):
    train, test, (first, second, *_) = classes
    risk = gengap.Risk(first, train, chunk=20)
    calls = []
    risk.model.register_forward_hook(lambda *_: calls.append(1))
    line(risk, None, second, test=test, alphas=[0, 1, 2])
    assert len(calls) == 3 * 2 * 2


def test_a_plane_is_the_quadratic_through_its_points_in_euclidean_coordinates(quadratic):
    points = {name: other(quadratic, seed) for name, seed in (("a", 5), ("b", 50), ("c", 500))}
    found = plane(quadratic, points, size=5)
    flat = {n: torch.cat([v.flatten() for v in p.values()]) for n, p in points.items()}
    across = (flat["b"] - flat["a"]) / (flat["b"] - flat["a"]).norm()
    rest = flat["c"] - flat["a"]
    up = rest - (rest @ across) * across
    up /= up.norm()
    for name, (x, y) in found.named.items():
        torch.testing.assert_close(flat["a"] + x * across + y * up, flat[name])
    for x, y, value in zip(found.x, found.y, found.losses["train"], strict=True):
        at = flat["a"] + x * across + y * up
        point = {"weight": at[:8].view(2, 4), "bias": at[8:]}
        assert float(value) == pytest.approx(quadratic(point), rel=1e-9)
    assert len(found) == 25 and len(found.frame()) == 25


def test_a_plane_along_directions_has_its_center_in_the_middle(quadratic):
    first, second = other(quadratic, 5), other(quadratic, 50)
    found = plane_along(quadratic, first, second, size=3, extent=0.5)
    middle = {(x, y): v for x, y, v in zip(*_lists(found), strict=True)}
    assert middle[(0.0, 0.0)] == pytest.approx(quadratic(), rel=1e-12)
    expected = quadratic(mixed((1, 0.5, -0.5), [quadratic.params, first, second]))
    assert middle[(0.5, -0.5)] == pytest.approx(expected, rel=1e-12)


def _lists(surface):
    return surface.x.tolist(), surface.y.tolist(), surface.losses["train"].tolist()


def test_triangles_and_quads_mix_their_corners(quadratic):
    names = ("a", "b", "c", "d")
    points = {name: other(quadratic, 7 * turn) for turn, name in enumerate(names)}
    three = dict(list(points.items())[:3])
    for found, corners in (
        (triangle(quadratic, three, size=4), three),
        (quad(quadratic, points, size=4), points),
    ):
        weights = torch.stack([found.weights[name] for name in corners], 1)
        assert bool((weights >= 0).all())
        torch.testing.assert_close(weights.sum(1), torch.ones(len(found)).double())
        for row, value in zip(weights.tolist(), found.losses["train"].tolist(), strict=True):
            assert value == pytest.approx(quadratic(mixed(row, list(corners.values()))), rel=1e-9)
        at = dict(zip(zip(*_lists(found)[:2], strict=True), _lists(found)[2], strict=True))
        for name, place in found.named.items():
            assert at[place] == pytest.approx(quadratic(points[name]), rel=1e-12)
    assert len(triangle(quadratic, three, size=4)) == 10


def profile(*losses):
    values = torch.tensor(losses, dtype=torch.float64)
    alphas = torch.linspace(0, 1, len(losses), dtype=torch.float64)
    return Profile(kind="line", alphas=alphas, losses={"train": values}, accuracies={}, length=1.0)


def test_barrier_and_monotonicity_of_made_up_losses():
    found = monotonicity(profile(4.0, 1.0, 3.0, 0.0, 1.5))
    assert (found.value, found.alpha, found.since) == (2.0, 0.5, 0.25)
    assert monotonicity(profile(3.0, 2.0, 2.0, 1.0)).value == 0
    found = barrier(profile(1.0, 4.0, 3.0))
    assert (found.value, found.alpha) == (2.0, 0.5)
    assert float(barrier(profile(2.0, 0.0, 1.0))) == 0
    assert math.isnan(barrier(profile(1.0, math.inf, 1.0)).value)
    beyond = Profile(
        kind="line",
        alphas=torch.tensor([-1.0, 0.0, 1.0, 2.0]),
        losses={"train": torch.tensor([9.0, 1.0, 0.0, 9.0])},
        accuracies={},
        length=1.0,
    )
    assert monotonicity(beyond).value == barrier(beyond).value == 0


def test_trajectory_splits_a_way_into_along_and_across(quadratic):
    start, end = other(quadratic, 5), other(quadratic, 50)
    across = other(quadratic, 500)
    points = [start, mixed((0.5, 0.5, 0.1), [start, end, across]), end]
    found = trajectory(quadratic, points, steps=[0, 10, 30])
    flat = [torch.cat([p[k].flatten() for k in start]) for p in points]
    unit = (flat[2] - flat[0]) / (flat[2] - flat[0]).norm()
    frame = found.frame()
    for row, point in zip(frame.to_dict("records"), flat, strict=True):
        gone = point - flat[0]
        assert row["projection"] == pytest.approx(float(gone @ unit), rel=1e-12, abs=1e-12)
        off = float((gone - (gone @ unit) * unit).norm())
        assert row["residual"] == pytest.approx(off, rel=1e-9, abs=1e-9)
    assert frame["alpha"].iloc[-1] == pytest.approx(1.0, rel=1e-12)
    assert frame["step"].tolist() == [0, 10, 30]


def test_stored_weights_are_points(classes, tmp_path):
    train, _, (first, second, *_) = classes
    safetensors.torch.save_file(second.state_dict(), tmp_path / "weights.safetensors")
    risk = gengap.Risk(first, train)
    stored = line(risk, None, tmp_path / "weights.safetensors", alphas=[0.5])
    module = line(risk, None, second, alphas=[0.5])
    states = line(risk, first.state_dict(), second.state_dict(), alphas=[0.5])
    assert stored.losses["train"] == module.losses["train"] == states.losses["train"]


def test_sequences_count_the_positions_that_are_not_ignored():
    tokens = torch.tensor([[0, 1, 2], [2, 2, 1]])
    targets = torch.tensor([[1, -100, -100], [0, 1, -100]])
    model = seeded(lambda: nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3)).double())
    risk = gengap.Risk(model, Split(inputs=tokens, targets=targets))
    right = model(tokens).argmax(-1) == targets
    expected = (float(right[0, 0]) + float(right[1, :2].double().mean())) / 2
    assert float(line(risk, None, model, alphas=[0.0]).accuracies["train"]) == expected


REFUSED = {
    "missing": (lambda r, p: line(r, None, {"weight": p["weight"]}), "got none named 'bias'"),
    "shape": (lambda r, p: line(r, None, {**p, "bias": torch.zeros(3)}), "'bias' in shape"),
    "nan": (lambda r, p: line(r, None, {**p, "bias": p["bias"] * math.nan}), "`end` must be fin"),
    "file": (lambda r, p: line(r, None, "nowhere.safetensors"), "must be a whole .safetensors"),
    "alphas": (lambda r, p: line(r, None, p, alphas=[]), "`alphas` must be a row"),
    "corners": (lambda r, p: plane(r, {"a": None, "b": p}), "`points` must be three; got 2"),
    "collinear": (
        lambda r, p: plane(r, {"a": None, "b": p, "c": mixed((0.5, 0.5), [r.params, p])}),
        "`points` must not lie on one line; got a, b, c",
    ),
    "same": (lambda r, p: trajectory(r, [p, p]), "must be different points"),
    "statistics": (lambda r, p: line(r, None, p, batch_norm="no"), "`batch_norm` must be one of"),
    "no ends": (lambda r, p: barrier(line(r, None, p, alphas=[0.5])), "read at alpha 0 and 1"),
    "half": (lambda r, p: barrier(line(r, None, p), half="test"), "`half` must be one of 'train'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(case, quadratic):
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        call(quadratic, other(quadratic, 5))


def test_a_thing_that_is_no_point_is_a_type_error(quadratic):
    with pytest.raises(TypeError, match="`end` must be a module, a dict"):
        line(quadratic, None, 3)
