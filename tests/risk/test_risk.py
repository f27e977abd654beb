"""Closed form and twin: the risk of a model on a split. Oracle: a linear model, plain autograd."""

import pytest
import torch
from torch import nn

import gengap
from gengap.data import Split, gaussian_clusters
from gengap.models import mlp, resnet


def clusters(n=50, d=6, classes=3):
    return gaussian_clusters(n, dim=d, num_classes=classes, separation=2.0, seed=0)


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build()


@pytest.fixture
def model():
    return seeded(lambda: mlp((6,), 3, hidden=(8,)))


def test_the_squared_error_of_a_linear_model_and_its_gradient():
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).double()
    y = torch.randn(9, 2, generator=torch.Generator().manual_seed(1)).double()
    line = seeded(lambda: nn.Linear(4, 2).double())
    risk = gengap.Risk(line, Split(inputs=x, targets=y), loss="squared_error", chunk=4)
    residual = (x @ line.weight.T + line.bias - y).detach()
    assert risk() == pytest.approx(float(residual.square().sum(1).mean() / 2), rel=1e-12)
    gradient = risk.gradient()
    torch.testing.assert_close(gradient["weight"], (residual.T @ x / 9).detach())
    torch.testing.assert_close(gradient["bias"], residual.mean(0).detach())


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_cross_entropy_at_a_point_does_not_depend_on_the_chunk(model, chunk):
    split = clusters()
    risk = gengap.Risk(model, split, chunk=chunk, dtype=torch.float64)
    point = {name: 2 * value for name, value in risk.params.items()}
    twin = seeded(lambda: mlp((6,), 3, hidden=(8,)).double())
    twin.load_state_dict(point)
    x, y = split.batch()
    losses = nn.functional.cross_entropy(twin(x.double()), y, reduction="none")
    torch.testing.assert_close(risk.per_example(point), losses.detach())
    losses.mean().backward()
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(risk.gradient(point)[name], parameter.grad)


def test_the_callers_model_is_left_alone(model):
    model.train()
    model[1].weight.grad = torch.ones_like(model[1].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gengap.Risk(model, clusters(), dtype=torch.float64).gradient()
    assert model.training
    assert torch.equal(model[1].weight.grad, torch.ones_like(model[1].weight))
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name])


def test_frozen_parameters_are_not_part_of_the_point(model):
    model[1].weight.requires_grad_(False)
    risk = gengap.Risk(model, clusters())
    assert "1.weight" not in risk.params
    assert set(risk.gradient()) == set(risk.params)


def test_a_subset_shares_the_model(model):
    risk = gengap.Risk(model, clusters(), dtype=torch.float64)
    part = risk[torch.tensor([3, 1])]
    assert part.model is risk.model and part.n == 2
    torch.testing.assert_close(part.per_example(), risk.per_example()[[3, 1]])


def test_sequences_with_ignored_targets_take_the_mean_of_the_rest():
    tokens = torch.tensor([[0, 1, 2], [2, 2, 1]])
    targets = torch.tensor([[1, -100, -100], [-100, -100, -100]])
    model = seeded(lambda: nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3)).double())
    risk = gengap.Risk(model, Split(inputs=tokens, targets=targets))
    logits = model(tokens[:1])[0, 0]
    expected = -logits.log_softmax(0)[1]
    torch.testing.assert_close(risk.per_example(), torch.stack([expected, 0 * expected]).detach())


def test_float64_sums_hold_where_float32_sums_would_not():
    x = torch.full((1 << 14, 1), 1.0)
    x[0] = 2**20
    line = seeded(lambda: nn.Linear(1, 1, bias=False))
    nn.init.ones_(line.weight)
    split = Split(inputs=x, targets=torch.zeros(len(x), 1))
    gradient = gengap.Risk(line, split, loss="squared_error", chunk=1).gradient()
    assert float(gradient["weight"]) * len(x) == 2**40 + len(x) - 1


def test_batch_norm_in_evaluation_mode_is_fine():
    model = seeded(lambda: resnet((1, 8, 8), 3, depth=8, width=4)).train()
    split = Split(
        inputs=torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        targets=torch.arange(5) % 3,
        num_classes=3,
    )
    whole, alone = gengap.Risk(model, split), gengap.Risk(model, split, chunk=1)
    torch.testing.assert_close(whole.per_example(), alone.per_example(), rtol=1e-5, atol=1e-6)


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(x - x.mean(0))


REFUSED = {
    "mixes": (lambda: Centred(), {}, "treat every example by itself, but"),
    "statistics": (
        lambda: nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3)),
        {},
        "its BatchNorm layer '0' keeps no running statistics",
    ),
    "shape": (lambda: nn.Linear(5, 3), {}, "must take examples of shape"),
    "nothing": (lambda: nn.Identity(), {}, "must have parameters to train; got none"),
    "loss name": (lambda: nn.Linear(6, 3), {"loss": "hinge"}, "`loss` must be one of"),
    "loss": (lambda: nn.Linear(6, 3), {"loss": nn.CrossEntropyLoss()}, "one number an example"),
    "chunk": (lambda: nn.Linear(6, 3), {"chunk": 0}, "`chunk` must be a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(case):
    build, options, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        gengap.Risk(seeded(build), clusters(), **options)
