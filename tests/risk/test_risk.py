"""Closed form and twin: the risk of a model on a split. Oracle: a linear model, plain autograd."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

import gengap
from gengap.curvature import keskar_sharpness
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
    "loss of another dtype": (
        lambda: nn.Linear(6, 3),
        {
            "dtype": torch.float64,
            "loss": lambda outputs, y: nn.functional.cross_entropy(
                outputs, y, weight=torch.ones(3), reduction="none"
            ),
        },
        r"`loss` must take outputs in torch\.float64; it raised .*make it a torch\.nn\.Module",
    ),
    "a loss that is no tensor": (
        lambda: nn.Linear(6, 3),
        {"loss": lambda outputs, y: 0.5},
        "one number an example, .*; got float",
    ),
    "chunk": (lambda: nn.Linear(6, 3), {"chunk": 0}, "`chunk` must be a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(case):
    build, options, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        gengap.Risk(seeded(build), clusters(), **options)


class Squeezed(nn.Sequential):
    def forward(self, x):
        return super().forward(x).squeeze()


def real(k=1, n=20):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(0))
    return Split(inputs=x, targets=x[:, :k] if k else x[:, 0])


ERROR = {"loss": "squared_error"}
UNFIT = {
    "squeezed regression": (
        lambda: Squeezed(nn.Linear(6, 1)), real(), ERROR,
        r"`model` must give 1 outputs an example, one a target of the split; got outputs of "
        r"shape \(4,\) for 4 examples\.",
    ),
    "targets to broadcast": (lambda: nn.Linear(6, 1), real(2), ERROR, "must give 2 outputs"),
    "targets in a row": (
        lambda: nn.Linear(6, 1), real(0), ERROR,
        r"`split` must have real targets of shape \[n, k\]; got \(20,\)\. "
        r"Give `targets\[:, None\]`\.",
    ),
    "one output": (
        lambda: nn.Linear(6, 1), clusters(), {},
        r"`model` must give 3 outputs an example, one a class of the split; got outputs of "
        r"shape \(4, 1\) for 4 examples\.",
    ),
    "sigmoid": (
        lambda: Squeezed(nn.Linear(6, 1), nn.Sigmoid()), clusters(classes=2), {},
        r"must give 2 outputs an example.* got outputs of shape \(4,\)",
    ),
    "too few": (lambda: nn.Linear(6, 2), clusters(), {}, "must give 3 outputs an example"),
    "squeezed classes": (
        lambda: Squeezed(nn.Linear(6, 3)), clusters(), {},
        r"must return a tensor with a row an example; got shape \(3,\) for one example\.",
    ),
    "real and default": (
        lambda: nn.Linear(6, 1), real(), {},
        r"`loss` must fit the targets of the split, which are real values; got 'cross_entropy'\. "
        r"Take 'squared_error'\.",
    ),
    "classes and squares": (
        lambda: nn.Linear(6, 3), clusters(), ERROR,
        "which are classes; got 'squared_error'. Take 'cross_entropy'.",
    ),
    "a sequence's last": (
        lambda: nn.Sequential(nn.Embedding(3, 4), nn.Flatten(), nn.Linear(8, 3)),
        Split(inputs=torch.tensor([[0, 1], [1, 2]]), targets=torch.tensor([[1, 2], [2, 0]])), {},
        "must give 3 outputs a target, one a class of the split",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_outputs_that_do_not_fit_the_targets_are_refused_in_one_sentence(case):
    build, split, options, words = UNFIT[case]
    with pytest.raises(ValueError, match=words):
        gengap.Risk(seeded(build), split, **options)


def test_another_half_must_have_targets_of_the_same_kind():
    risk = gengap.Risk(seeded(lambda: nn.Linear(6, 1)), real(), loss="squared_error")
    for other, words in ((real(0), "real targets of shape"), (clusters(), "which are classes")):
        with pytest.raises(ValueError, match=words):
            risk.on(other)


def test_targets_of_any_shape_and_a_loss_of_my_own_are_taken():
    image = torch.randn(9, 6, generator=torch.Generator().manual_seed(0)).view(9, 2, 3)
    risk = gengap.Risk(seeded(lambda: nn.Linear(3, 3)), Split(inputs=image, targets=image), **ERROR)
    expected = 0.5 * (risk.model(image) - image).square().sum((1, 2)).mean()
    assert risk() == pytest.approx(expected.item())
    model, split = seeded(lambda: nn.Linear(6, 1)), clusters(classes=2)
    logits = model(split.batch()[0])[:, 0]
    risk = gengap.Risk(
        model, split, loss=lambda z, y: nn.functional.softplus((1 - 2 * y) * z[:, 0])
    )
    expected = nn.functional.binary_cross_entropy_with_logits(logits, split.targets.float())
    assert risk() == pytest.approx(expected.item())
    assert gengap.Risk(seeded(lambda: nn.Linear(6, 7)), clusters())() > 0


class Tutorial(nn.Module):
    """The LSTM of many tutorials: its state is float32 whatever the network is."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        state = torch.zeros(2, x.size(0), 4)
        return self.head(self.lstm(x, (state, state))[0][:, -1])


def test_a_network_that_makes_float32_tensors_is_told_so():
    x = torch.randn(12, 5, 3, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=x, targets=torch.arange(12) % 3, num_classes=3)
    model = seeded(Tutorial)
    gengap.Risk(model, split)
    with pytest.raises(
        ValueError, match=r"a float64 copy of the network was run and raised .*`x\."
    ):
        gengap.Risk(model, split, dtype=torch.float64)
    with pytest.raises(ValueError, match="must take examples of shape"):
        gengap.Risk(seeded(lambda: nn.Linear(5, 3)), clusters(), dtype=torch.float64)


def test_whole_numbers_for_floats_and_the_reverse_are_told():
    tokens, labels = torch.arange(28).view(4, 7) % 5, torch.arange(4) % 3
    table = seeded(lambda: nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(14, 3)))
    with pytest.raises(ValueError, match=r'whole numbers: read them with .*layout="tokens"'):
        gengap.Risk(table, gengap.data.as_split(tokens, labels))
    split = gengap.data.as_split(tokens, labels, layout="tokens")
    assert gengap.Risk(table, split).n == 4
    with pytest.raises(ValueError, match="It takes floats: give the inputs as such"):
        gengap.Risk(seeded(lambda: nn.Linear(7, 3)), split)


class KeepsNorm(nn.Module):
    """A `train` that returns nothing."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return self.out(x)

    def train(self, mode=True):
        super().train(mode)


@pytest.mark.global_rng("torch")
def test_a_train_that_returns_nothing_and_data_that_are_no_split():
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    risk = gengap.Risk(KeepsNorm(), Split(inputs=x, targets=y, num_classes=3))
    assert not risk.model.training
    with pytest.raises(TypeError, match=r"`split` must be a gengap\.Split; got tuple"):
        gengap.Risk(KeepsNorm(), (x, y))


@pytest.mark.global_rng("torch")
def test_class_weights_are_computed_in_the_dtype_of_the_risk():
    """Oracle: PyTorch's loss in float64, and the measures that copy the network to float64."""
    weight, model, split = torch.tensor([1.0, 2.0, 0.5]), nn.Linear(6, 3), clusters()
    loss = nn.CrossEntropyLoss(weight=weight, reduction="none")
    x, y = split.batch()
    truth = nn.functional.cross_entropy(
        model.double()(x.double()), y, weight=weight.double(), reduction="none"
    )
    for dtype in (torch.float32, torch.float64):
        risk = gengap.Risk(model.to(dtype), split, loss=loss, dtype=dtype)
        assert risk() == pytest.approx(float(truth.mean().detach()), rel=1e-6)
        assert keskar_sharpness(risk, starts=1).loss == pytest.approx(
            float(truth.mean().detach()), rel=1e-6
        )
    assert loss.weight.dtype == torch.float32


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_the_hessian_of_weight_norm_is_that_of_finite_differences(dim, old):
    normalized = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    layer = normalized(nn.Linear(3, 4), dim=dim)
    model = nn.Sequential(layer, nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    split = Split(inputs=x, targets=torch.arange(6) % 2, num_classes=2)
    risk = gengap.Risk(model, split, dtype=torch.float64)
    names = [f"0.parametrizations.weight.original{i}" for i in (0, 1)]
    names = ["0.weight_g", "0.weight_v"] if old else names
    point = {name: p.detach().clone() for name, p in risk.params.items()}

    def loss(*own):
        given = {**point, **dict(zip(names, own, strict=True))}
        return risk.losses(functional_call(risk.model, given, (x,)), split.targets).mean()

    own = tuple(point[name].requires_grad_() for name in names)
    assert torch.autograd.gradcheck(loss, own) and torch.autograd.gradgradcheck(loss, own)
    assert torch.allclose(risk.model(x), model(x), rtol=1e-12)
    hook = next(iter(layer._forward_pre_hooks.values())) if old else None
    assert type(hook or layer.parametrizations.weight[0]).__name__ in ("WeightNorm", "_WeightNorm")
