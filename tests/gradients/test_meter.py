"""Twin: what the meter reads in a training loop. Oracle: one example at a time; closed forms."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gengap
from gengap.data import Split
from gengap.gradients import CoherenceMeter
from tests.gradients.meter_oracle import batch, gradients_one_by_one, m_coherence_of

pytestmark = pytest.mark.global_rng


def mlp():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).double()


def test_layers_have_the_names_that_coherence_gives_them():
    x, y = batch()
    model = nn.Linear(x.flatten(1).shape[1], 3).double()
    split = Split(inputs=x.flatten(1), targets=y % 3, num_classes=3)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(split.inputs), split.targets).backward()
        reading = meter.read()
    found = gengap.coherence(gengap.Risk(model, split)).per_layer["m_coherence"]
    assert reading.per_layer == pytest.approx(found.to_dict())
    assert list(reading.per_layer) == ["."]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_reading_is_the_definition_whatever_the_reduction(reduction):
    model, (x, y) = mlp(), batch()
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y, reduction=reduction).backward()
        reading = meter.read()
    assert reading.m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-10)
    assert reading.examples == len(x)
    assert reading.alpha == pytest.approx(reading.m_coherence / len(x))
    for layer in ("0", "2"):
        own = {name: g for name, g in blocks.items() if name.startswith(layer)}
        assert reading.per_layer[layer] == pytest.approx(m_coherence_of(own), rel=1e-10)
    rows = torch.cat(list(blocks.values()), dim=1)
    gram = rows @ rows.T
    n = len(x)
    off = (gram.sum() - gram.trace()) / (n * (n - 1))
    assert reading.unbiased_alpha == pytest.approx(float(off / (gram.trace() / n)), rel=1e-9)


def test_training_with_the_meter_is_training_without_it():
    plain, metered, (x, y) = mlp(), None, batch()
    metered = copy.deepcopy(plain)
    with CoherenceMeter(metered) as meter:
        for model in (plain, metered):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
            for _ in range(5):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        assert meter.read().examples == 5 * len(x)
    for left, right in zip(plain.parameters(), metered.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)
    assert all("forward" not in vars(module) for module in metered.modules())


def test_a_copy_of_a_metered_model_is_a_model_of_its_own():
    model, (x, y) = mlp(), batch()
    with CoherenceMeter(model) as meter:
        twin = copy.deepcopy(model)
        with torch.no_grad():
            twin[0].weight.zero_()
        assert not torch.equal(twin(x), model(x))
        F.cross_entropy(twin(x), y).backward()
        with pytest.raises(ValueError, match="must come after a backward pass"):
            meter.read()


def test_a_reading_holds_all_micro_batches_since_the_last():
    model, (x, y) = mlp(), batch(n=8)
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        for part in (slice(0, 4), slice(4, 8)):
            F.cross_entropy(model(x[part]), y[part]).backward()
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-10)
        with pytest.raises(ValueError, match="must come after a backward pass"):
            meter.read()


def test_evaluation_between_batches_is_not_counted():
    model, (x, y) = mlp(), batch()
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            model(x[:2])
        first = meter.read().m_coherence
        F.cross_entropy(model(x), y).backward()
        second = meter.read()
    assert (second.m_coherence, second.examples) == (first, len(x))


class Tied(nn.Module):
    """Token embeddings that are also the output weights, and positions without a batch axis."""

    def __init__(self, positions):
        super().__init__()
        self.tokens, self.places = nn.Embedding(6, 4), nn.Embedding(4, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.tokens.weight
        self.positions = positions

    def forward(self, x):
        places = torch.arange(x.shape[1])
        places = places if self.positions == "flat" else places[None]
        return self.head(torch.tanh(self.tokens(x) + self.places(places))).flatten(1, 1)


def sequence_loss(outputs, y):
    return F.cross_entropy(outputs.flatten(0, 1), y.flatten())


@pytest.mark.parametrize("positions", ["flat", "row"])
@pytest.mark.parametrize("n", [2, 3])
def test_tied_weights_and_positions_without_a_batch_axis(positions, n):
    model = Tied(positions).double()
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randint(6, (2, n, 4), generator=generator)
    blocks = gradients_one_by_one(model, x, y, loss=sequence_loss)
    with CoherenceMeter(model) as meter:
        sequence_loss(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)


class StepsFirst(nn.Module):
    """A recurrent layer whose input has the steps on its first axis."""

    def __init__(self):
        super().__init__()
        self.steps, self.head = nn.LSTM(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.steps(x.transpose(0, 1))[0][-1])


@pytest.mark.parametrize("length", [4, 5, 8])
def test_steps_on_the_first_axis_are_not_taken_for_examples(length):
    model = StepsFirst().double()
    x, (_, y) = torch.randn(4, length, 3, dtype=torch.float64), batch(n=4)
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)


class Scaled(nn.Module):
    """A parameter of its own in a module of the user's."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = nn.Linear(5, 3), nn.Parameter(torch.tensor([2.0, -1.0, 0.5]))

    def forward(self, x):
        return self.inner(x) * self.scale


def test_a_module_of_the_users_own():
    model, (x, y) = Scaled().double(), batch()
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)


class Borrowed(nn.Module):
    """Uses the weight of a layer without calling the layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.first(x) + F.linear(x, self.first.weight))


def test_a_weight_that_is_used_behind_the_layers_back_is_refused_by_name():
    model, (x, y) = Borrowed(), batch(dtype=torch.float32)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        with pytest.raises(ValueError, match=r"its parameter 'first\.weight' in the layer"):
            meter.read()


def test_batch_norm_in_training_mode_gets_the_sentence_that_says_what_to_do():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    x, y = batch(dtype=torch.float32)
    with CoherenceMeter(model) as meter:
        with pytest.raises(ValueError, match=r"BatchNorm layer '1' is in training mode: call"):
            model(x)
        model[1].eval()
        F.cross_entropy(model(x), y).backward()
        blocks = gradients_one_by_one(model, x, y)
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-4)


def test_under_autocast_it_is_near():
    model, (x, y) = mlp().float(), batch(dtype=torch.float32)
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x).float(), y)
        loss.backward()
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=0.05)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_equal_examples_and_orthogonal_ones_and_fitted_ones():
    line = nn.Linear(4, 1, bias=False).double()
    nn.init.zeros_(line.weight)
    eye = torch.eye(4, dtype=torch.float64)
    ones = torch.ones(4, 1, dtype=torch.float64)
    with CoherenceMeter(line) as meter:
        (line(eye) - ones).square().mean().backward()
        assert meter.read().m_coherence == pytest.approx(1.0)
        (line(eye[:1].expand(4, 4)) - ones).square().mean().backward()
        assert meter.read().m_coherence == pytest.approx(4.0)
        (line(eye) - 0 * ones).square().mean().backward()
        assert math.isnan(meter.read().m_coherence)


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("resnet18", TypeError, "must be a torch.nn.Module; got str"),
        (nn.ReLU(), ValueError, "must have parameters to train; got none"),
    ],
)
def test_what_cannot_be_metered_is_refused(model, error, words):
    with pytest.raises(error, match=words):
        CoherenceMeter(model)


class InOnePiece(nn.Module):
    """A leaf of the user's own, differentiated in one piece, with a module inside."""

    def __init__(self):
        super().__init__()
        self.log, self.act = nn.Parameter(torch.full((8,), 0.3)), nn.Tanh()

    def forward(self, x):
        return self.act(x * self.log.exp().cumsum(0))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(5, 12)
        self.block = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.down = nn.Linear(12, 3)

    def forward(self, x):
        return self.down(self.block(self.up(x).unflatten(1, (3, 4))).flatten(1))


def between(layer):
    return nn.Sequential(nn.Linear(5, 8), layer, nn.Linear(8, 3))


@pytest.mark.parametrize(
    "build",
    [
        lambda: between(nn.PReLU(8)),
        lambda: between(InOnePiece()),
        lambda: between(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))),
        Encoder,
    ],
)
def test_layers_below_one_that_is_differentiated_in_one_piece(build):
    torch.manual_seed(0)
    model, (x, y) = build().double(), batch()
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        for _ in range(2):
            F.cross_entropy(model(x), y).backward()
            reading = meter.read()
            assert reading.m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)
            assert reading.examples == len(x)


class Padded(nn.Module):
    """A Transformer encoder that leaves out padding, in evaluation mode by nested tensors."""

    def __init__(self, dropout):
        super().__init__()
        self.table = nn.Embedding(9, 8, padding_idx=0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x):
        rows = self.encoder(self.table(x), src_key_padding_mask=x == 0)
        return self.head(rows.masked_fill((x == 0)[:, :, None], 0).sum(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("training", [True, False])
def test_an_encoder_that_leaves_out_padding(training):
    model, (_, y) = Padded(0.0 if training else 0.1).double().train(training), batch(n=6)
    x = torch.randint(1, 9, (6, 5))
    x[:3, 3:] = 0
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        reading = meter.read()
    assert reading.examples == 6
    assert reading.m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_meter_that_is_never_read_leaves_no_hook_behind():
    model, (x, y) = mlp(), batch()
    with CoherenceMeter(model):
        F.cross_entropy(model(x), y).backward()
        assert all(p._backward_hooks for p in model.parameters())
    assert not any(p._backward_hooks for p in model.parameters())


class Bags(nn.Module):
    """The mean or sum of what a sparse table has for an example's tokens: no rule of its own."""

    def __init__(self, mode, sparse=True):
        super().__init__()
        self.table, self.head = nn.EmbeddingBag(9, 4, mode=mode, sparse=sparse), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.table(x))


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_gradients_of_sparse_bags_are_those_of_dense_ones(mode):
    model, dense = Bags(mode).double(), Bags(mode, sparse=False).double()
    dense.load_state_dict(model.state_dict())
    x, y = torch.randint(9, (6, 3)), torch.arange(6) % 3
    split = gengap.data.as_split(x, y, layout="tokens")
    risks = [gengap.Risk(m, split, dtype=torch.float64) for m in (model, dense)]
    one, two = (gengap.gradients.gram(risk) for risk in risks)
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)
    for m in (model, dense):
        F.cross_entropy(m(x), y).backward()
    plain = model.table.weight.grad
    model.zero_grad()
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(gengap.coherence(risks[1]).m_coherence)
    given = model.table.weight.grad
    assert given.is_sparse == plain.is_sparse
    torch.testing.assert_close(given.to_dense(), dense.table.weight.grad, rtol=1e-12, atol=1e-14)
    torch.optim.SparseAdam(model.table.parameters()).step()


@pytest.mark.parametrize("padding", [None, 2])
def test_sparse_gradients_of_tables_stay_sparse(padding):
    model = nn.Sequential(nn.Embedding(9, 4, padding, sparse=True), nn.Flatten(), nn.Linear(12, 3))
    plain = copy.deepcopy(model.double())
    (_, y), x = batch(n=6), torch.randint(9, (6, 3))
    blocks = gradients_one_by_one(model, x, y)
    with CoherenceMeter(model) as meter:
        for one in (model, plain):
            F.cross_entropy(one(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)
    given, expected = model[0].weight.grad, plain[0].weight.grad
    assert given.is_sparse
    assert given._nnz() <= expected.coalesce()._nnz()
    torch.testing.assert_close(given.to_dense(), expected.to_dense(), rtol=1e-12, atol=1e-14)
    torch.optim.SparseAdam(model[0].parameters()).step()


def test_a_measurement_while_the_meter_is_on_is_neither_disturbed_nor_counted():
    model, (x, y) = mlp(), batch()
    split = gengap.data.as_split(x, y)
    expected = gengap.coherence(gengap.Risk(model, split)).m_coherence
    with CoherenceMeter(model) as meter:
        for _ in range(2):
            found = gengap.coherence(gengap.Risk(model, split)).m_coherence
            assert found == pytest.approx(expected, rel=1e-9)
            F.cross_entropy(model(x), y).backward()
            reading = meter.read()
            assert reading.m_coherence == pytest.approx(expected, rel=1e-6)
            assert reading.examples == len(x)


def test_a_meter_that_is_refused_leaves_no_hook_behind():
    model = nn.Linear(3, 2)
    with CoherenceMeter(model), pytest.raises(ValueError, match="meter"):
        CoherenceMeter(model)
    counted = nn.Embedding(4, 2, scale_grad_by_freq=True)
    with pytest.raises(ValueError, match="scale_grad_by_freq"):
        CoherenceMeter(counted)
    for p in (*model.parameters(), *counted.parameters()):
        assert not p._backward_hooks


def test_a_model_that_is_refused_is_metered_once_it_can_be():
    model = nn.Sequential(nn.Linear(5, 8), nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"known shape; got '1\.weight', which is not init"):
        CoherenceMeter(model)
    (x, y), model = batch(), model.double()
    model(x)
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_parts_are_refused_in_a_sentence():
    model = nn.Sequential(nn.Linear(5, 8), torch.jit.script(nn.Linear(8, 3)))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no scripted parts, .*; got '1'"):
            CoherenceMeter(model)


def test_a_failure_on_the_way_leaves_no_hook_behind(monkeypatch):
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))

    def fails(*args):
        raise RuntimeError("no hook here")

    with monkeypatch.context() as patched:
        patched.setattr(model[2].bias, "register_hook", fails)
        with pytest.raises(RuntimeError, match="no hook here"):
            CoherenceMeter(model)
    assert not any(p._backward_hooks for p in model.parameters())
    for module in model.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    CoherenceMeter(model).close()
