"""Property and closed form: rescaled and permuted copies keep the function.

Oracle: the function in both dtypes, the alpha-scale transformation written out, the dense float64
Hessian, and D H D at a random point.
"""

import copy

import pytest
import torch
from torch import nn

import gengap
from gengap.symmetries import find, permute, rescale, transform
from tests.reference.dense_curvature import dense_hessian
from tests.symmetries import user_models as users

pytestmark = pytest.mark.global_rng("torch")


def two_layers(dtype=torch.float32):
    """The network of Dinh et al. on real digits, trained for a moment."""
    split = gengap.load("digits")[0][:120]
    model = gengap.models.mlp(split.input_shape, split.num_classes, hidden=(8,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x, y = split.batch(torch.arange(len(split)))
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.to(dtype), split


def top_eigenvalue(risk, steps=150):
    """Power iteration on Hessian products: not the library's eigensolver."""
    model, names = risk.model, list(risk.params)
    x, y = next(iter(risk.batches()))
    params = [model.get_parameter(name) for name in names]
    loss = nn.functional.cross_entropy(model(x), y)
    grads = torch.autograd.grad(loss, params, create_graph=True)
    generator = torch.Generator().manual_seed(0)
    vector = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in params]
    for _ in range(steps):
        length = sum(float(v.square().sum()) for v in vector) ** 0.5
        vector = [v / length for v in vector]
        product = torch.autograd.grad(grads, params, vector, retain_graph=True)
        value = sum(float((v * p).sum()) for v, p in zip(vector, product, strict=True))
        vector = [p.detach() for p in product]
    return value


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_top_eigenvalue_grows_a_thousandfold_while_the_function_stays(dtype, allowed):
    model, split = two_layers(dtype)
    changed = transform(model, 0.01, example_inputs=split)
    assert changed.difference < allowed
    x = split.inputs.to(dtype)
    with torch.no_grad():
        before, after = model(x), changed.model(x)
    assert float((before - after).abs().max() / before.abs().max()) < allowed
    risks = [gengap.Risk(m, split, dtype=torch.float64) for m in (model, changed.model)]
    assert abs(risks[0]() - risks[1]()) < (1e-5 if dtype == torch.float32 else 1e-12)
    assert top_eigenvalue(risks[1]) > 1000 * top_eigenvalue(risks[0])


def test_one_hidden_layer_is_the_alpha_scale_transformation():
    model = users.randomized(gengap.models.mlp((4,), 3, hidden=(5,)))
    changed = rescale(model, 7.0)
    expected = {
        "1.weight": 7 * model[1].weight,
        "1.bias": 7 * model[1].bias,
        "4.weight": model[4].weight / 7,
        "4.bias": model[4].bias,
    }
    for name, value in expected.items():
        torch.testing.assert_close(changed.get_parameter(name), value, rtol=1e-15, atol=0)


def test_factors_of_layers_cumulate_on_the_biases():
    model = users.randomized(gengap.models.mlp((4,), 3, hidden=(5, 6)))
    changed = rescale(model, [2.0, 8.0])  # of the outputs of both layers
    torch.testing.assert_close(changed[1].bias, 2 * model[1].bias)
    torch.testing.assert_close(changed[4].weight, 4 * model[4].weight)
    torch.testing.assert_close(changed[4].bias, 8 * model[4].bias)
    torch.testing.assert_close(changed[7].weight, model[7].weight / 8)
    by_name = rescale(model, {"1": 2.0, "4 -> 7": 8.0})
    assert all(torch.equal(p, by_name.get_parameter(n)) for n, p in changed.named_parameters())


class Raw(nn.Module):
    """Three weights of one module, so that both rescalings have its name."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Parameter(users.drawn(4, 5)), nn.Parameter(users.drawn(5, 6))
        self.three = nn.Parameter(users.drawn(6, 2))

    def forward(self, x):
        return torch.relu(torch.relu(x @ self.one) @ self.two) @ self.three


def test_factors_go_by_place_where_rescalings_share_a_name():
    model = nn.Sequential(Raw())
    found = find(model, users.drawn(3, 4))
    assert [place.name for place in found.rescalings] == ["0 -> 0", "0 -> 0"]
    changed = rescale(model, [2.0, 8.0], example_inputs=users.drawn(3, 4), symmetries=found)
    torch.testing.assert_close(changed[0].one, 2 * model[0].one)
    torch.testing.assert_close(changed[0].two, 4 * model[0].two)
    torch.testing.assert_close(changed[0].three, model[0].three / 8)
    both = rescale(model, {"0 -> 0": 2.0}, example_inputs=users.drawn(3, 4))
    torch.testing.assert_close(both[0].three, model[0].three / 2)


def test_powers_of_two_change_no_digit():
    model = gengap.models.lenet((1, 12, 12), 3)
    x = users.drawn(4, 1, 12, 12).float()
    changed = transform(model, 2.0**20, example_inputs=x)
    assert changed.difference == 0.0 and torch.equal(changed.model.eval()(x), model.eval()(x))


@pytest.mark.parametrize("build", [users.Functional, users.Residual, users.Vgg])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_factors_differ_by_unit_and_are_drawn_from_the_seed(build, seed):
    model, x = users.randomized(build()), users.drawn(4, 1, 8, 8)
    first = transform(model, 1e3, example_inputs=x, seed=seed)
    again = transform(model, 1e3, example_inputs=x, seed=seed)
    assert first.difference < 1e-12
    assert torch.equal(first.log_scales, again.log_scales)
    assert len(first.log_scales.unique()) == len(first.log_scales)
    assert first.log_scales.abs().max() <= torch.tensor(1e3).log()


def test_the_hessian_of_a_rescaled_network_is_d_h_d_at_any_point():
    model = users.randomized(gengap.models.mlp((3,), 2, hidden=(4, 3)))
    x, y = users.drawn(7, 3), torch.arange(7) % 2
    split = gengap.data.as_split(x, y)
    found = find(model, x)
    log_scales = users.drawn(found.num_scales, seed=3)
    changed = found.apply(model, log_scales)
    before = dense_hessian(gengap.Risk(model, split, dtype=torch.float64))
    after = dense_hessian(gengap.Risk(changed, split, dtype=torch.float64))
    factors = found.factors(log_scales)
    d = torch.cat([
        (1 / factors.get(name, torch.ones(1).double())).expand(p.shape).reshape(-1)
        for name, p in model.named_parameters()
    ])
    torch.testing.assert_close(after, d[:, None] * before * d, rtol=1e-9, atol=1e-12)
    assert before.abs().max() > 0.1 and (d.log().abs() > 0.5).any()


PERMUTED = {
    "mlp with BatchNorm": (lambda: gengap.models.mlp((4,), 3, hidden=(5, 6), batch_norm=True), 4),
    "attending": (users.Attending, (5, 4)),
    "concatenating": (users.Concatenating, (1, 8, 8)),
    "mixed": (users.Mixed, 4),
    "resnet": (lambda: gengap.models.resnet((1, 8, 8), 3, depth=8, width=4), (1, 8, 8)),
    "vgg": (users.Vgg, (1, 8, 8)),
    "lenet": (lambda: gengap.models.lenet((1, 12, 12), 3), (1, 12, 12)),
}


@pytest.mark.parametrize("name", PERMUTED)
def test_permuted_units_keep_the_function_and_the_values_of_the_weights(name):
    build, shape = PERMUTED[name]
    shape = (shape,) if isinstance(shape, int) else shape
    model, x = users.randomized(build()), users.drawn(4, *shape)
    changed = permute(model, example_inputs=x, seed=3)
    with torch.no_grad():
        a, b = model(x), changed(x)
    assert float((a - b).abs().max() / a.abs().max()) < 1e-13
    moved = 0
    for key, value in model.state_dict().items():
        other = changed.state_dict()[key]
        assert torch.equal(value.reshape(-1).sort().values, other.reshape(-1).sort().values)
        moved += not torch.equal(value, other)
    assert moved > 2


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mlp with BatchNorm", [5, 6]),
        ("mixed", [5, 6]),  # GELU's units change places too
        ("attending", [4, 4, 4, 4, 8]),  # keys and values of two heads; the stream
        ("concatenating", [3, 4, 6]),
        ("resnet", [4, 4, 4, 8, 8, 16]),
        ("lenet", [6, 16, 84, 120]),
    ],
)
def test_the_sets_that_change_places_are_those_counted_by_hand(name, sizes):
    build, shape = PERMUTED[name]
    shape = (shape,) if isinstance(shape, int) else shape
    found = find(users.randomized(build()), users.drawn(2, *shape))
    assert sorted(place.units for place in found.permutations) == sizes


def test_neighbours_of_a_response_normalization_and_groups_of_channels_stay_where_they_are():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.LocalResponseNorm(3), nn.Conv2d(6, 4, 1), nn.ReLU(),
        nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip
    found = find(model, torch.ones(2, 1, 4, 4))
    assert found.permutations == ()
    assert [place.name for place in found.rescalings] == ["2 -> 4", "4 -> 6"]


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.0, "`factor` must be positive and finite; got 0.0"),
        (float("nan"), "`factor` must be positive and finite; got nan"),
        ([2.0, 3.0], "`factor` must be 1 numbers, one a rescaling; got 2"),
        ({"7": 2.0}, r"`factor` must name one of '1 -> 4'; got '7'"),
        (torch.ones(3), r"`factor` must have shape \(5,\), one a unit; got \(3,\)"),
        (1e-300, "The function must stay within 0.0001 of itself"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(factor, words):
    with pytest.raises(ValueError, match=words):
        rescale(gengap.models.mlp((4,), 3, hidden=(5,)), factor)


@pytest.mark.parametrize(
    ("factor", "came"),
    [("a", "'a'"), (["2"], "'2'"), ([[2.0, 3.0]], r"\[2\.0, 3\.0\]"), ({"1": None}, "None")],
)
def test_factors_are_numbers(factor, came):
    words = f"`factor` must be a number, a sequence or mapping of numbers, or a tensor; got {came}"
    with pytest.raises(TypeError, match=words):
        rescale(gengap.models.mlp((4,), 3, hidden=(5,)), factor)


@pytest.mark.parametrize("function", [rescale, permute])
@pytest.mark.parametrize("norm", [False, True])
def test_symmetries_of_another_network_are_refused(function, norm):
    def build(width):
        return gengap.models.mlp((4,), 3, hidden=(width,), batch_norm=norm)

    found = find(build(5))
    with pytest.raises(
        ValueError, match=r"`model` must have the '1\.weight' of .* got shape \(7, 4"
    ):
        function(build(7), symmetries=found)
    with pytest.raises(
        ValueError, match=r"`model` must have the '1\.weight' of .* got no such ten"
    ):
        function(nn.Linear(4, 3), symmetries=found)
    assert function(build(5), symmetries=found) is not None


def test_models_without_symmetries_say_why():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"must have units to rescale; got none .*sigmoid"):
        rescale(model)
    with pytest.raises(ValueError, match="must have units to permute; got none"):
        permute(nn.Linear(3, 2))


def test_the_model_given_is_not_touched():
    model = gengap.models.mlp((4,), 3, hidden=(5,), batch_norm=True).train()
    before = copy.deepcopy(model.state_dict())
    rescale(model, 3.0)
    permute(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
