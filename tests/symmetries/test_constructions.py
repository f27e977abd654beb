"""Closed form and twin: the constructions of Dinh et al. on flat and sharp minima.

Oracle: eigenvalues of the dense float64 Hessian by torch.func, chain rules written out with
autograd, formulas of the paper evaluated by hand.
"""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

import gengap
from gengap.symmetries import (
    Bijection,
    InputsReparametrized,
    Radial,
    WeightNorm,
    find,
    raise_eigenvalues,
    reparametrize,
    sharpen_within,
)
from tests.reference.dense_curvature import dense_hessian
from tests.symmetries import user_models as users

pytestmark = pytest.mark.global_rng("torch")


def hessian(function):
    return jacrev(jacrev(function))


def chain(*widths, bias=False):
    layers = []
    for number in range(len(widths) - 1):
        layers += [nn.Linear(widths[number], widths[number + 1], bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class SmallConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.two(torch.relu(self.one(x))))
        return self.head(x.mean((2, 3)))


def risk_of(model, *shape, classes=3, n=40):
    split = gengap.data.as_split(users.drawn(n, *shape), torch.arange(n) % classes)
    return gengap.Risk(users.randomized(model), split, dtype=torch.float64)


# parameters held back: the smallest layer; with biases, those behind it are held back too, so
# that the last layer may become the cheapest
THEOREM = {
    "three hidden layers": (lambda: chain(5, 6, 6, 4, 3), (5,), 4 * 3),
    "narrow in the middle": (lambda: chain(5, 6, 2, 2, 6, 3), (5,), 2 * 2),
    "with biases": (lambda: chain(5, 6, 4, 3, bias=True), (5,), 4 * 3 + 3),
    "convolutions": (SmallConv, (1, 7, 7), 4 * 3 + 3),
}


@pytest.mark.parametrize("name", THEOREM)
@pytest.mark.parametrize("above", [1.0, 1e4])
def test_all_but_as_many_eigenvalues_as_the_smallest_layer_has_weights_exceed_any_bound(
    name, above
):
    build, shape, smallest = THEOREM[name]
    risk = risk_of(build(), *shape)
    before = torch.linalg.eigvalsh(dense_hessian(risk))
    rank = int((before > 1e-6 * before.max()).sum())
    raised = raise_eigenvalues(risk, before, above=above, rank=rank)
    assert raised.held_back == smallest and raised.promised == rank - smallest > 0
    d = flat(risk.params) / flat(dict(raised.model.named_parameters())).detach()
    d = d.clamp(min=1)
    after = dense_hessian(risk_of_model(raised.model, risk))
    # by Sylvester's law as many eigenvalues exceed M as are positive after this congruence,
    # which float64 resolves though the eigenvalues themselves spread over 20 decades
    scaled = after / d[:, None] / d - above * torch.diag(d**-2)
    assert int((torch.linalg.eigvalsh(scaled) > 0).sum()) >= raised.promised
    if above == 1.0:
        assert int((torch.linalg.eigvalsh(after) > above).sum()) >= raised.promised
    assert int((before > above).sum()) < raised.promised
    assert raised.difference < 1e-12


def risk_of_model(model, risk):
    return gengap.Risk(model, risk.split, dtype=torch.float64)


@pytest.mark.parametrize("epsilon", [1e-1, 1e-4, 1e-8])
def test_a_ball_of_any_radius_holds_the_constant_function(epsilon):
    risk = risk_of(chain(5, 6, 4, 3), 5)
    sharp = sharpen_within(risk, epsilon)
    assert sharp.distance < epsilon and sharp.difference < 1e-12
    own = dict(sharp.model.named_parameters())
    gap = sum(float((sharp.worse[k] - own[k]).detach().square().sum()) for k in own) ** 0.5
    assert gap == pytest.approx(sharp.distance, rel=1e-9) and gap > 0.99 * epsilon
    loss, constant = risk(), math.log(3)  # equal logits
    expected = (constant - loss) / (1 + loss)
    assert sharp.sharpness == pytest.approx(expected, rel=1e-9)
    at_worse = risk_of_model(sharp.model, risk)(sharp.worse)
    assert at_worse == pytest.approx(constant, rel=1e-12)


class Stream(nn.Module):
    """What leaves a layer goes on by itself and through a part that can be frozen or normalizes."""

    def __init__(self, norm):
        super().__init__()
        self.stem, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6) if norm else nn.Identity()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 3)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        h = self.stem(x)
        return self.last(h.relu() + self.one(h.relu()).relu()) + self.two(self.norm(h).relu())


@pytest.mark.parametrize(
    ("build", "frozen"),
    [
        (lambda: Stream(norm=False), "stem"),
        (lambda: Stream(norm=False), "one"),
        (lambda: Stream(norm=True), "last"),
        (lambda: chain(5, 6, 4, 3), "0"),
        (lambda: chain(5, 6, 4, 3), "2"),
    ],
)
def test_the_sharpness_is_that_of_the_network_returned_whatever_is_frozen(build, frozen):
    model = build()
    model.get_submodule(frozen).requires_grad_(False)
    risk = risk_of(model, 5)
    sharp = sharpen_within(risk, 1e-2)
    other = risk_of_model(sharp.model, risk)
    actual = (other(sharp.worse) - other()) / (1 + other())
    assert sharp.sharpness == pytest.approx(actual, rel=1e-12)
    assert sharp.distance < 1e-2 and sharp.worse.keys() == risk.params.keys()


def test_running_statistics_of_the_network_returned_are_those_evaluated():
    risk = risk_of(Stream(norm=True), 5)
    number = [
        n
        for n, place in enumerate(find(risk.model, risk.split).rescalings)
        if "stem.weight" in place.multiplied and not place.one_sided
    ]
    sharp = sharpen_within(risk, 1e-3, place=number[0])
    other = risk_of_model(sharp.model, risk)
    actual = (other(sharp.worse) - other()) / (1 + other())
    assert not torch.equal(sharp.model.norm.running_var, risk.model.norm.running_var)
    assert sharp.sharpness == pytest.approx(actual, rel=1e-12)


def test_a_layer_that_is_frozen_or_zero_is_no_place_to_sharpen():
    model = chain(5, 6, 3)
    model[0].requires_grad_(False)
    with pytest.raises(ValueError, match=r"trained and not zero; got none\."):
        sharpen_within(risk_of(model, 5), 0.1)
    with pytest.raises(ValueError, match=r"`place` must multiply weights .*; got 0 \(0 -> 2\)"):
        sharpen_within(risk_of(model, 5), 0.1, place=0)
    with pytest.raises(ValueError, match="`place` must be the number of one of 1 rescalings; got"):
        sharpen_within(risk_of(model, 5), 0.1, place=7)
    risk = risk_of(chain(5, 6, 3), 5)
    with torch.no_grad():
        risk.model[0].weight.zero_()
    with pytest.raises(ValueError, match=r"trained and not zero; got none\."):
        sharpen_within(risk, 0.1)


def test_radii_and_bounds_are_checked():
    risk = risk_of(chain(5, 6, 3), 5)
    with pytest.raises(ValueError, match="`epsilon` must be positive and finite; got 0"):
        sharpen_within(risk, 0)
    with pytest.raises(ValueError, match="`eigenvalues` must have a positive one"):
        raise_eigenvalues(risk, torch.zeros(3), above=1.0)
    with pytest.raises(ValueError, match=r"`rho` must lie between 0 and delta, 1\.0; got 2\.0"):
        Radial(center={}, delta=1.0, rho=2.0, r_hat=0.5)


def flat(params):
    return torch.cat([p.reshape(-1) for p in params.values()])


def unflatten(vector, like):
    parts = vector.split([p.numel() for p in like.values()])
    return {k: part.view(like[k].shape) for k, part in zip(like, parts, strict=True)}


def coordinates(kind, theta):
    if kind == "radial":
        shifted = {k: v - 0.05 for k, v in theta.items()}
        return Radial(center=shifted, delta=2.0, rho=0.1, r_hat=1.0)
    if kind == "weight norm":
        return WeightNorm(length=3.0)
    return Bijection(
        forward=lambda eta: {k: torch.sinh(v) for k, v in eta.items()},
        backward=lambda theta: {k: torch.asinh(v) for k, v in theta.items()},
    )


@pytest.mark.parametrize("kind", ["radial", "weight norm", "user's"])
def test_gradient_and_hessian_follow_the_chain_rule_at_any_point(kind):
    risk = risk_of(chain(3, 4, 2), 3, classes=2, n=9)
    theta = risk.params
    change = coordinates(kind, theta)
    eta = change.inverse(theta)
    other = gengap.Risk(reparametrize(risk.model, change), risk.split, dtype=torch.float64)
    assert other() == pytest.approx(risk(), rel=1e-12)

    def g(vector):
        return flat(change(unflatten(vector, eta)))

    point = flat(eta)
    first, second = jacrev(g)(point), hessian(g)(point)
    gradient, curvature = flat(risk.gradient()), dense_hessian(risk)
    keys = [f"eta.{name.replace('.', '/')}" for name in eta]
    found = other.gradient()
    torch.testing.assert_close(torch.cat([found[k].reshape(-1) for k in keys]), gradient @ first)
    expected = first.T @ curvature @ first + torch.einsum("i,ijk->jk", gradient, second)
    x, y = next(iter(other.batches()))

    def loss(vector):
        values = dict(zip(keys, unflatten(vector, eta).values(), strict=True))
        return nn.functional.cross_entropy(functional_call(other.model, values, (x,)), y)

    torch.testing.assert_close(hessian(loss)(point), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("rho", "r_hat"), [(0.1, 1.0), (1.5, 0.3)])
def test_radial_coordinates_make_a_minimum_flat_or_sharp_and_stay_local(rho, r_hat):
    center = {"w": torch.tensor([1.0, -2.0], dtype=torch.float64)}
    change = Radial(center=center, delta=2.0, rho=rho, r_hat=r_hat)
    curvature = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)

    def loss(eta):
        offset = change({"w": eta})["w"] - center["w"]
        return 0.5 * offset @ curvature @ offset

    torch.testing.assert_close(hessian(loss)(center["w"]), (r_hat / rho) ** 2 * curvature)
    for radius, expected in ((r_hat / 2, rho / 2), (r_hat, rho), (2.5, 2.5)):
        theta = {"w": center["w"] + radius * torch.tensor([0.6, 0.8], dtype=torch.float64)}
        eta = change.inverse(theta)
        assert float((eta["w"] - center["w"]).norm()) == pytest.approx(expected)
        torch.testing.assert_close(change(eta)["w"], theta["w"])
    # the Jacobian of g^-1 between the radii, as printed in appendix A
    offset = (r_hat + 2.0) / 2 * torch.tensor([0.6, 0.8], dtype=torch.float64)
    r, delta = offset.norm(), 2.0
    shrink = delta * (r_hat - rho) / (r * (r_hat - delta))
    expected = (rho - delta) / (r_hat - delta) * torch.eye(2) + shrink * torch.eye(2)
    expected = expected - delta * (r_hat - rho) / (r**3 * (r_hat - delta)) * torch.outer(
        offset, offset
    )
    found = jacrev(lambda w: change.inverse({"w": w})["w"])(center["w"] + offset)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("length", [0.01, 100.0])
def test_the_block_of_directions_scales_as_one_over_the_square_of_their_length(length):
    risk = risk_of(chain(3, 4, 2), 3, classes=2, n=9)

    def blocks(of):
        model = reparametrize(risk.model, WeightNorm(length=of))
        other = gengap.Risk(model, risk.split, dtype=torch.float64)
        names = [k for k in other.params if k.endswith("v")]
        return dense_hessian(other, names=names)

    torch.testing.assert_close(blocks(length), blocks(1.0) / length**2, rtol=1e-8, atol=1e-12)


def test_coordinates_must_lead_back():
    wrong = Bijection(
        forward=lambda eta: dict(eta), backward=lambda t: {k: 2 * v for k, v in t.items()}
    )
    with pytest.raises(ValueError, match=r"`coordinates` must lead back to '0\.weight'"):
        reparametrize(chain(3, 2), wrong)


def test_other_inputs_have_other_gradients_of_the_same_function():
    model, matrix = (
        users.randomized(chain(3, 5, 2)),
        torch.diag(torch.tensor([1.0, 10, 1e-3])).double(),
    )
    other = InputsReparametrized(model, lambda u: u @ matrix)
    x = users.drawn(4, 3)
    u = x @ torch.linalg.inv(matrix)
    torch.testing.assert_close(other(u), model(x))
    torch.testing.assert_close(jacrev(other)(u[0]), jacrev(model)(x[0]) @ matrix.T)
