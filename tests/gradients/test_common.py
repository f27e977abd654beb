"""Twin: a meter and a robust optimizer where examples share what parameters alone make.

Oracle: autograd, one example at a time; robust means by definition.
"""

import copy
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gengap.gradients import CoherenceMeter, _whereabouts
from gengap.gradients._gradient_check import gradients_agree
from gengap.optim import WinsorizedSGD, winsorized_mean
from tests.gradients.common_models import COMMON, LENGTH, WIDTH, Added, Cosines, Network, Windows
from tests.gradients.meter_oracle import gradients_one_by_one, m_coherence_of


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        return build()


def batch(n=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, LENGTH, WIDTH, generator=generator, dtype=dtype), torch.arange(n) % 3


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", COMMON)
def test_a_meter_reads_what_single_examples_give(name):
    model = seeded(COMMON[name]).double()
    plain = copy.deepcopy(model)
    with CoherenceMeter(model) as meter:
        for n in (7, 4, 7):
            x, y = batch(n)
            model.zero_grad()
            output = model(x)
            F.cross_entropy(output, y).backward()
            blocks = gradients_one_by_one(plain, x, y)
            assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)
            plain.zero_grad()
            expected = plain(x)
            F.cross_entropy(expected, y).backward()
            torch.testing.assert_close(output, expected)
            torch.testing.assert_close(gradients(model), gradients(plain))


TWICE = (
    "bounded",
    "relative",
    "disentangled",
    "tied",
    "twice",
    "made weights, rows",
    "made weights, linear",
)
"""How the names of networks begin that use a parameter twice, which robust optimizers refuse."""


@pytest.mark.parametrize("name", [name for name in COMMON if not name.startswith(TWICE)])
def test_a_robust_optimizer_clips_the_gradients_of_single_examples(name):
    model, (x, y) = seeded(COMMON[name]).double(), batch()
    rows = gradients_one_by_one(model, x, y)
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=20)
    with optimizer.robust():
        F.cross_entropy(model(x), y).backward()
    for key, p in model.named_parameters():
        if p.grad is not None:
            found = winsorized_mean(rows[key], 20).view_as(p)
            torch.testing.assert_close(p.grad, found, rtol=1e-9, atol=1e-12)
    optimizer.step()


@pytest.mark.parametrize(
    "name", ["relative", "windows", "prefix", "queries", "made weights, linear"]
)
def test_float32_and_autocast(name):
    model, (x, y) = seeded(COMMON[name]), batch(dtype=torch.float32)
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(x)
        F.cross_entropy(output.float(), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=0.05)


class Remembering(Added):
    """Keeps what its table gave, and counts how long that was."""

    def mixed(self, x):
        self.kept = self.table(torch.arange(LENGTH))
        return x + self.kept


def test_hooks_and_attributes_see_the_table_as_it_is():
    model, (x, y), seen = seeded(Remembering).double(), batch(), []
    model.table.register_forward_hook(lambda layer, args, output: seen.append(output.shape))
    with CoherenceMeter(model):
        F.cross_entropy(model(x), y).backward()
    assert model.kept.shape == (LENGTH, WIDTH) and set(seen) == {torch.Size((LENGTH, WIDTH))}


def test_a_table_that_later_has_examples_is_followed_no_more():
    class Given(Added):
        def forward(self, x, places=None):
            self.places = torch.arange(LENGTH) if places is None else places
            return super().forward(x)

        def mixed(self, x):
            return x + self.table(self.places)

    model, (x, y) = seeded(Given).double(), batch()
    plain = copy.deepcopy(model)
    places = (torch.arange(LENGTH) + torch.arange(7)[:, None]) % LENGTH
    with CoherenceMeter(model) as meter:
        for given in ((), (places,), ()):
            model.zero_grad()
            F.cross_entropy(model(x, *given), y).backward()
            rows = []
            for i in range(len(x)):
                plain.zero_grad()
                F.cross_entropy(
                    plain(x[i : i + 1], *(p[i : i + 1] for p in given)), y[i : i + 1]
                ).backward()
                rows.append(torch.cat([g.flatten() for g in gradients(plain).values()]))
            expected = m_coherence_of({"all": torch.stack(rows)})
            assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


def test_a_penalty_on_a_table_outside_of_the_model_is_refused():
    model, (x, y) = seeded(Added).double(), batch()
    plain = copy.deepcopy(model)

    def loss(model):
        rows = model.table.weight[:LENGTH]
        return F.cross_entropy(model(x), y) + rows.diff(dim=0).square().mean()

    loss(plain).backward()
    with CoherenceMeter(model) as meter:
        loss(model).backward()
        torch.testing.assert_close(gradients(model), gradients(plain))
        with pytest.raises(ValueError, match=r"must use its parameter 'table\.weight'"):
            meter.read()


class Returned(Added):
    """Gives the shared value to the loss, too."""

    def forward(self, x):
        rows = self.table(torch.arange(LENGTH))
        return self.last((self.first(x) + rows).tanh().mean(1)), rows


def test_a_shared_value_that_leaves_the_model_is_refused():
    model, (x, y) = seeded(Returned).double(), batch()
    with CoherenceMeter(model) as meter:
        for _ in range(2):
            output, rows = model(x)
            (F.cross_entropy(output, y) + rows.square().sum()).backward()
            with pytest.raises(ValueError, match=r"must use its parameter 'table\.weight'"):
                meter.read()


class Mingled(Windows):
    """Windows of all examples, the first of each before the second: no order is told."""

    def mixed(self, x):
        x = torch.cat([x, x[:, :1]], 1).unflatten(1, (2, 3)).transpose(0, 1).flatten(0, 1)
        bias = self.table[self.index.view(-1)].view(3, 3, -1).permute(2, 0, 1)
        q = self.inner(x).unflatten(-1, (2, -1)).transpose(1, 2)
        found = ((q @ q.mT + bias.unsqueeze(0)).softmax(-1) @ q).transpose(1, 2).flatten(2)
        return found.unflatten(0, (2, -1)).transpose(0, 1).flatten(1, 2)


class Convolved(Network):
    """A shared value in a function that nobody follows it into."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(WIDTH, WIDTH)

    def mixed(self, x):
        weight = self.table(torch.arange(WIDTH)).sin().unsqueeze(-1)
        return F.conv1d(x.mT, weight).mT


@pytest.mark.parametrize("build", [Mingled, Convolved])
def test_what_gives_other_gradients_is_refused(build):
    model, (x, y) = seeded(build).double(), batch()
    plain = F.cross_entropy(model(x), y)
    with CoherenceMeter(model) as meter:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"give what is the same|must use its param"):
                F.cross_entropy(model(x), y).backward()
                meter.read()
    assert torch.equal(F.cross_entropy(model(x), y), plain)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_shared_value_goes_into_a_checkpoint(reentrant):
    class Checkpointed(Added):
        def mixed(self, x):
            rows = self.table(torch.arange(LENGTH))
            return checkpoint(lambda x: (x + rows).sin(), x, use_reentrant=reentrant)

    model, (x, y) = seeded(Checkpointed).double(), batch()
    plain = copy.deepcopy(model)
    F.cross_entropy(plain(x), y).backward()
    with CoherenceMeter(model) as meter:
        if reentrant:
            with pytest.raises(ValueError, match="give what is the same for all examples"):
                model(x)
            return
        F.cross_entropy(model(x), y).backward()
        torch.testing.assert_close(gradients(model), gradients(plain))
        expected = m_coherence_of(gradients_one_by_one(plain, x, y))
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_table_is_looked_up_within_a_checkpoint(mixed, reentrant):
    class Checkpointed(Added):
        def mixed(self, x):
            return checkpoint(self.inner, x, use_reentrant=reentrant)

        def inner(self, x):
            rows = self.table(torch.arange(LENGTH))
            if mixed:
                rows = rows + self.table(x.argmax(-1).clamp(max=LENGTH - 1))
            return (x + rows).sin()

    model, (x, y) = seeded(Checkpointed).double(), batch()
    plain = copy.deepcopy(model)
    F.cross_entropy(plain(x), y).backward()
    blocks = gradients_one_by_one(plain, x, y)
    with CoherenceMeter(model) as meter:
        if reentrant or mixed:
            with pytest.raises(ValueError, match="'table', where neither was found"):
                model(x)
            return
        for _ in range(2):
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            torch.testing.assert_close(gradients(model), gradients(plain))
            assert meter.read().m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-9)


def test_gradient_penalties_are_right_and_refused():
    model, (x, y) = seeded(COMMON["relative"]).double(), batch()
    plain = copy.deepcopy(model)

    def backward(model):
        given = x.clone().requires_grad_()
        loss = F.cross_entropy(model(given), y)
        (slope,) = torch.autograd.grad(loss, given, create_graph=True)
        (loss + slope.square().sum()).backward()

    backward(plain)
    with CoherenceMeter(model) as meter:
        backward(model)
        torch.testing.assert_close(gradients(model), gradients(plain))
        with pytest.raises(ValueError, match="must use its parameter"):
            meter.read()


def test_a_part_that_is_called_by_itself_is_followed():
    model, (x, y) = nn.ModuleDict({"net": seeded(COMMON["relative"])}).double(), batch()
    expected = m_coherence_of(gradients_one_by_one(model["net"], x, y))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model["net"](x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["relative", "prefix"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_compiled_model_is_followed(name, wrapped):
    model, (x, y) = seeded(COMMON[name]).double(), batch()
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    with CoherenceMeter(compiled if wrapped else model) as meter:
        for _ in range(2):
            F.cross_entropy(compiled(x), y).backward()
            reading = meter.read()
            assert reading.m_coherence == pytest.approx(expected, rel=1e-9)
            assert "last" in reading.per_layer
    optimizer = WinsorizedSGD(compiled.parameters(), model=compiled, percent=20)
    if name == "prefix":
        with optimizer.robust():
            F.cross_entropy(compiled(x), y).backward()
    torch._dynamo.reset()


class OnlyLosses(nn.Module):
    """Returns nothing but a loss, after `use` of the losses of the examples."""

    def __init__(self, use):
        super().__init__()
        self.net, self.use = Added(), use

    def forward(self, x, y):
        return self.use(F.cross_entropy(self.net(x), y, reduction="none"))


@pytest.mark.parametrize("use", [torch.mean, torch.sum, lambda losses: losses])
def test_a_model_that_returns_its_loss_is_followed(use):
    model, (x, y) = seeded(lambda: OnlyLosses(use)).double(), batch()
    expected = m_coherence_of(gradients_one_by_one(model.net, x, y))
    with CoherenceMeter(model) as meter:
        model(x, y).sum().backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)


def test_a_loss_that_is_no_mean_of_the_examples_is_refused():
    model, (x, y) = (
        seeded(lambda: OnlyLosses(lambda losses: losses.square().mean().sqrt())),
        batch(),
    )
    with pytest.raises(ValueError, match="give what is the same"), CoherenceMeter(model.double()):
        model(x, y)


def test_a_metered_model_has_the_signature_that_it_had():
    model = seeded(Added)
    before = inspect.signature(model.forward)
    with CoherenceMeter(model):
        assert inspect.signature(model.forward) == before
        assert model.forward.__name__ == "forward"


class Unpadded(Network):
    """Takes the tokens of all examples in one row: an example has as many as it is long."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        mask = torch.arange(LENGTH) < x[:, :1, 0]
        found = torch.zeros_like(x)
        found[mask] = self.inner(self.first(x)[mask])
        return self.last(found.tanh().mean(1))


class SortedRows(Network):
    """Uses a layer a second time, with the examples in another order."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)

    def mixed(self, x):
        order = x[:, 0, 0].argsort()
        return self.inner(self.inner(x).tanh()[order])[order.argsort()]


class BatchStatistics(Network):
    def mixed(self, x):
        return x - x.mean(0)


@pytest.mark.parametrize("build", [Unpadded, SortedRows, BatchStatistics])
def test_examples_that_together_have_other_gradients_are_refused(build):
    model, (x, y) = seeded(build).double(), batch(8)
    if build is Unpadded:  # two tokens each on average, as the first two have
        x[:, 0, 0] = torch.tensor([2.0, 2, 4, 1, 1, 2, 3, 1])
    with pytest.raises(ValueError, match="keep the examples apart"), CoherenceMeter(model):
        F.cross_entropy(model(x), y).backward()
    optimizer = WinsorizedSGD(model.parameters(), model=model, percent=20)
    with pytest.raises(ValueError, match="keep the examples apart"), optimizer.robust():
        F.cross_entropy(model(x), y).backward()


def test_examples_that_come_sorted_are_compared_in_another_order():
    model, (x, y) = seeded(SortedRows).double(), batch(8)
    x = x[model.first(x)[:, 0, 0].argsort()]
    with pytest.raises(ValueError, match="keep the examples apart"), CoherenceMeter(model):
        F.cross_entropy(model(x), y).backward()


class SortedLater(SortedRows):
    """Keeps the examples apart until there is one with a large number."""

    def mixed(self, x):
        return super().mixed(x) if x.max() > 50 else self.inner(self.inner(x).tanh())


def test_examples_are_compared_again():
    model, (x, y) = seeded(SortedLater).double(), batch(8)
    with CoherenceMeter(model) as meter:
        for _ in range(3):
            F.cross_entropy(model(x), y).backward()
            meter.read()
        with pytest.raises(ValueError, match="keep the examples apart"):
            model(100 * x)


class Similarities(Cosines):
    """Gives how alike all examples are, too, which hangs on who is in the batch."""

    def forward(self, x):
        found = super().forward(x)
        return found, found @ found.T


class Sampling(Network):
    """Draws, also in evaluation mode."""

    def mixed(self, x):
        return x * torch.rand(x.shape, dtype=x.dtype)


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("build", [Similarities, Sampling])
def test_what_cannot_be_compared_is_metered(build):
    model, (x, y) = seeded(build).double(), batch()
    with CoherenceMeter(model) as meter:
        found = model(x)
        F.cross_entropy(found[0] if isinstance(found, tuple) else found, y).backward()
        assert meter.read().examples == 7


class Renewed(Added):
    """Looks at detached values, and gives a parameter new data, as it is called."""

    def mixed(self, x):
        scale = self.first.bias.detach().abs().max()
        self.last.bias.data = self.last.bias.data.clamp(-1, 1)
        self.hung = x.detach().mean(1, keepdim=True)
        return super().mixed(x) + self.hung * scale


def test_values_that_are_detached_or_replaced():
    model, (x, y) = seeded(Renewed).double(), batch()
    with torch.no_grad():
        model.last.bias.fill_(2.0)
    expected = m_coherence_of(gradients_one_by_one(model, x, y))
    with CoherenceMeter(model) as meter:
        F.cross_entropy(model(x), y).backward()
        assert meter.read().m_coherence == pytest.approx(expected, rel=1e-9)
    assert model.last.bias.max() == 1


class Idle(Network):
    """Has a layer that it never calls."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(WIDTH, WIDTH)

    def mixed(self, x):
        return x


def test_examples_are_compared_for_the_first_shapes_only(monkeypatch):
    compared = []

    def agree(*given, **named):
        compared.append(given)
        return gradients_agree(*given, **named)

    monkeypatch.setattr(_whereabouts, "gradients_agree", agree)
    model, (x, y) = seeded(Idle).double(), batch()
    with CoherenceMeter(model) as meter:
        for length in range(1, 7):
            F.cross_entropy(model(x.repeat(1, 2, 1)[:, :length]), y).backward()
            assert meter.read().examples == 7
    assert len(compared) == 2 * 3  # with what may be shared, and without
