"""Twin: winsorized and trimmed SGD in a plain loop against `vmap(grad)` and NumPy.

Also properties: what cannot be told apart by example is refused, groups, stored states.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from gengap.optim import TrimmedMeanSGD, WinsorizedSGD

pytestmark = pytest.mark.global_rng("torch")
KINDS = (WinsorizedSGD, TrimmedMeanSGD)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def batches(count=6, size=20):
    draw = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(size, 5, generator=draw, dtype=torch.float64)
        yield x, torch.randint(3, (size,), generator=draw)


def by_numpy(model, x, y, percent, kind):
    """Gradients of the mean loss, name to robust sum over the examples."""

    def loss(p, x, y):
        return F.cross_entropy(functional_call(model, p, (x[None],)), y[None])

    params = {k: v.detach() for k, v in model.named_parameters()}
    found = {}
    for name, g in vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y).items():
        rows, ends = g.numpy(), [percent, 100 - percent]
        if kind is WinsorizedSGD:
            rows = np.clip(rows, *np.percentile(rows, ends, axis=0, method="nearest"))
        else:
            low, high = np.percentile(np.arange(len(rows)), ends, method="nearest")
            rows = np.sort(rows, axis=0)[int(low) : int(high) + 1]
        found[name] = torch.as_tensor(rows.mean(0))
    return found


@pytest.mark.parametrize("as_closure", [False, True])
@pytest.mark.parametrize(("momentum", "foreach"), [(0.0, None), (0.9, True), (0.9, False)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_loop(kind, momentum, foreach, as_closure):
    model = network()
    twin = copy.deepcopy(model)
    options = {"model": model, "percent": 10, "foreach": foreach}
    optimizer = kind(model.parameters(), 0.1, 0.01, momentum, **options)
    velocity = {name: 0.0 for name, _ in twin.named_parameters()}
    for x, y in batches():

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        if as_closure:
            assert optimizer.step(closure) > 0
        else:
            with optimizer.robust():
                closure()
            optimizer.step()
        sums = by_numpy(twin, x, y, 10, kind)
        with torch.no_grad():
            for name, p in twin.named_parameters():
                velocity[name] = momentum * velocity[name] + sums[name] + 0.01 * p
                p -= 0.1 * velocity[name]
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)
    assert "forward" not in vars(model[0])


def test_groups_have_their_own_percent_and_state_is_stored():
    model = network()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "percent": 40}]
    optimizer = WinsorizedSGD(groups, lr=1.0, model=model, percent=5, momentum=0.5)
    twin = copy.deepcopy(model)
    x, y = next(batches())
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for percent, layer in ((5, "0"), (40, "2")):
        expected = by_numpy(twin, x, y, percent, WinsorizedSGD)[f"{layer}.weight"]
        torch.testing.assert_close(model.get_submodule(layer).weight.grad, expected)
    optimizer.step()
    other = WinsorizedSGD([{"params": g["params"]} for g in optimizer.param_groups], model=model)
    other.load_state_dict(optimizer.state_dict())
    assert [g["percent"] for g in other.param_groups] == [5, 40]
    assert torch.equal(
        other.state[model[0].weight]["velocity"], optimizer.state[model[0].weight]["velocity"]
    )


def test_a_plain_gradient_is_refused():
    model = network()
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=20)
    x, y = next(batches())
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    optimizer.step()
    F.cross_entropy(model(x), y).backward()
    with pytest.raises(RuntimeError, match=r"got a plain one in that of '0.weight'"):
        optimizer.step()


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(5, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.layer(x) * self.scale


def below_prelu():
    return nn.Sequential(nn.Linear(5, 8), nn.PReLU(8), nn.Linear(8, 3))


@pytest.mark.parametrize("build", [Scaled, below_prelu])
def test_a_module_of_ones_own(build):
    model = build().double()
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=10)
    x, y = next(batches())
    expected = by_numpy(model, x, y, 10, WinsorizedSGD)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name])
    optimizer.step()


def test_a_parameter_used_twice_is_named():
    model = network()
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=20)
    x, _ = next(batches())
    with optimizer.robust(), pytest.raises(ValueError, match=r"two uses of '\d\.\w+'"):
        (model(x) + model(x)).sum().backward()


def one_step(optimizer, model, count):
    optimizer.zero_grad()
    x, y = next(batches())
    with optimizer.robust():
        F.cross_entropy(model(x[:count]), y[:count]).backward()
    optimizer.step()


def test_a_percent_that_reaches_no_example_is_told_once_of_the_first_batch():
    """Of 8 examples the nearest percentile is the second example's from 50 / 7 on."""
    model = network()
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=7)
    with pytest.warns(UserWarning, match=r"got 7 for 8 examples.*more than 7\.143") as told:
        one_step(optimizer, model, 8)
        one_step(optimizer, model, 8)
    assert len(told) == 1
    assert told[0].filename == __file__
    for percent in (0, 7.2):
        optimizer = WinsorizedSGD(model.parameters(), model=model, percent=percent)
        one_step(optimizer, model, 8)  # and a smaller last batch says nothing
        one_step(optimizer, model, 3)


def test_parameters_of_another_model_and_wrong_percents_are_refused():
    with pytest.raises(ValueError, match="must be parameters of `model`"):
        WinsorizedSGD(network().parameters(), model=network())
    model = network()
    with pytest.raises(ValueError, match="`percent` must lie in"):
        WinsorizedSGD(model.parameters(), model=model, percent=60)


class Placed(nn.Module):
    """Tokens with a table of positions, whose input has no axis of examples."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(6, 4), nn.Embedding(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        places = self.places(torch.arange(x.shape[1]))
        return self.head((self.tokens(x) + places).tanh().mean(1))


def test_positions_are_not_taken_for_examples():
    torch.default_generator.manual_seed(0)
    model = Placed().double()
    x, y = torch.randint(6, (4, 4)), torch.tensor([0, 2, 1, 1])
    rows = []
    for i in range(4):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        rows.append(model.places.weight.grad.clone())
    rows = torch.stack(rows).numpy()
    low, high = np.percentile(rows, [30, 70], axis=0, method="nearest")
    expected = torch.from_numpy(rows.clip(low, high).mean(0))  # of the mean loss: b / b
    optimizer = WinsorizedSGD(model.parameters(), lr=0.1, percent=30, model=model)
    for _ in range(2):  # the second pass knows from the first
        model.zero_grad()
        with optimizer.robust():
            F.cross_entropy(model(x), y).backward()
        torch.testing.assert_close(model.places.weight.grad, expected)
