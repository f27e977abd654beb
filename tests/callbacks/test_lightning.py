"""Twin: coherence in the logs of a real Lightning trainer. Oracle: one example at a time."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.callbacks.cases import hooks
from tests.gradients.test_meter import gradients_one_by_one, m_coherence_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pl = pytest.importorskip("lightning.pytorch")

from gengap.callbacks import LightningCoherence

pytestmark = [
    pytest.mark.global_rng,
    *map(pytest.mark.filterwarnings, ("ignore::UserWarning", "ignore::DeprecationWarning")),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Module(pl.LightningModule):
    """A user's module: the network is a part of it, and `forward` is not used."""

    def __init__(self, *, norm=False):
        super().__init__()
        middle = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.net = nn.Sequential(nn.Linear(5, 8), middle, nn.ReLU(inplace=True), nn.Linear(8, 3))
        self.starts = []

    def training_step(self, batch, index):
        x, y = batch
        self.starts.append((copy.deepcopy(self.net.state_dict()), x, y))
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Logs(pl.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(dict(trainer.callback_metrics))


def train(module, callback, tmp_path, *, accumulate=1, epochs=1, shape=(5,), collate=None):
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(24, *shape), torch.randint(3, (24,)))
    logs = Logs()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        accumulate_grad_batches=accumulate,
        callbacks=[callback, logs],
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=6, collate_fn=collate))
    return logs.seen


def test_every_batch_of_a_short_run_is_logged(tmp_path):
    module = Module()
    seen = train(module, LightningCoherence(layers=True), tmp_path)
    assert len(seen) == 4
    for (state, x, y), logged in zip(module.starts, seen, strict=True):
        twin = copy.deepcopy(module.net)
        twin.load_state_dict(state)
        blocks = gradients_one_by_one(twin.double(), x.double(), y)
        assert float(logged["m_coherence"]) == pytest.approx(m_coherence_of(blocks), rel=1e-4)
        assert "m_coherence/net.0" in logged
    assert all("forward" not in vars(m) for m in module.net.modules())


def test_accumulated_batches_are_read_as_one(tmp_path):
    module = Module()
    seen = train(module, LightningCoherence(), tmp_path, accumulate=2)
    state, x, y = module.starts[0]
    both = torch.cat([x, module.starts[1][1]]), torch.cat([y, module.starts[1][2]])
    twin = copy.deepcopy(module.net)
    twin.load_state_dict(state)
    blocks = gradients_one_by_one(twin.double(), both[0].double(), both[1])
    assert "m_coherence" not in seen[0]
    assert float(seen[1]["m_coherence"]) == pytest.approx(m_coherence_of(blocks), rel=1e-4)


def test_training_is_what_it_is_without_the_callback(tmp_path):
    torch.manual_seed(1)
    plain = Module()
    metered = copy.deepcopy(plain)
    train(plain, Logs(), tmp_path)
    train(metered, LightningCoherence(every=1), tmp_path)
    for left, right in zip(plain.parameters(), metered.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-7)


def test_batch_norm_in_training_mode_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"BatchNorm layer 'net\.1' is in training mode: call"):
        train(Module(norm=True), LightningCoherence(), tmp_path)


class Noting(Module):
    """Notes the steps at which coherence is logged."""

    def __init__(self):
        super().__init__()
        self.read_at = []

    def log(self, name, value):
        assert name == "m_coherence"
        self.read_at.append(self.trainer.global_step + 1)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_are_read_densely_and_then_every_so_many(accumulate, tmp_path):
    module = Noting()
    train(module, LightningCoherence(every=4), tmp_path, accumulate=accumulate, epochs=18)
    wanted = [*range(1, 26), *range(28, 18 * 4 // accumulate + 1, 4)]
    assert module.read_at == wanted


class Breaks(Module):
    """Breaks off within the second step."""

    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        if index == 1:
            self.within = hooks(self)
            raise ZeroDivisionError
        return loss


def test_an_error_within_a_step_leaves_no_hooks(tmp_path):
    module = Breaks()
    before = hooks(module)
    with pytest.raises(ZeroDivisionError):
        train(module, LightningCoherence(), tmp_path)
    assert module.within > before
    assert hooks(module) == before


class Views(Module):
    """Trains on two views an example, which it folds into the rows of its network."""

    def training_step(self, batch, index):
        x, y = batch.values() if isinstance(batch, dict) else batch
        return F.cross_entropy(self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1), y)


def as_dict(rows):
    return dict(zip("xy", torch.utils.data.default_collate(rows), strict=True))


@pytest.mark.parametrize("collate", [None, as_dict])
def test_examples_that_only_the_batch_shows_are_not_miscounted(collate, tmp_path):
    with pytest.raises(ValueError, match=r"got 12 rows for 6 examples"):
        train(Views(), LightningCoherence(), tmp_path, shape=(2, 5), collate=collate)
