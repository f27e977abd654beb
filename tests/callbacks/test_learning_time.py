"""Twin: what Lightning and Transformers trainers learn, and when. Oracle: a loop written out."""

import copy
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pl = pytest.importorskip("lightning.pytorch")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

from gengap.callbacks import LightningLearningTime, TransformersLearningTime
from gengap.data import as_split
from gengap.memorization import example_scores, rank_labels
from tests.callbacks.test_transformers import bert, rows, train as train_transformers

pytestmark = [
    pytest.mark.global_rng,
    *map(pytest.mark.filterwarnings, ("ignore::UserWarning", "ignore::DeprecationWarning")),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
EPOCHS = 6


class Module(pl.LightningModule):
    """A user's module with dropout, which notes its weights at the end of every epoch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 3))
        self.states = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])

    def on_train_epoch_end(self):
        self.states.append(copy.deepcopy(self.net.state_dict()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def examples():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(30, 5, generator=generator)
    return TensorDataset(x, torch.randint(3, (30,), generator=generator))


def train(module, callbacks, tmp_path, dataset=None, **options):
    torch.manual_seed(0)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=callbacks,
        **options,
    )
    trainer.fit(module, DataLoader(dataset or examples(), batch_size=8, shuffle=True))
    return trainer


def followed(right, epochs):
    """First epoch right, epoch since when right, times forgotten: one example at a time."""
    first = last = math.nan
    forgotten = 0
    for before, now, epoch in zip([False, *right], right, epochs, strict=False):
        first = epoch if now and math.isnan(first) else first
        last = (epoch if not before else last) if now else math.nan
        forgotten += before and not now
    return first, last, forgotten


@pytest.mark.parametrize("every", [1, 2])
def test_lightning_examples_are_those_of_a_loop_written_out(tmp_path, every):
    module, callback = Module(), LightningLearningTime(every=every)
    torch.manual_seed(5)
    trainer = train(module, [callback], tmp_path)
    net = copy.deepcopy(module.net).eval()
    x, y = examples().tensors
    epochs = list(range(every, EPOCHS + 1, every))
    logits = []
    for epoch in epochs:
        net.load_state_dict(module.states[epoch - 1])
        logits.append(net(x).detach().double())
    found = callback.examples
    assert found["example"].tolist() == list(range(30))
    for i in range(30):
        own = [z[i] for z in logits]
        want = followed([int(z.argmax()) == int(y[i]) for z in own], epochs)
        row = found.iloc[i]
        got = row["first_learned"], row["last_learned"], row["forgotten"]
        np.testing.assert_equal(np.array(got, float), np.array(want, float))
        margins = [z[y[i]] - torch.cat([z[: y[i]], z[y[i] + 1 :]]).max() for z in own]
        assert row["margin"] == pytest.approx(float(sum(margins)) / len(own), abs=1e-5)
        losses = [float(F.cross_entropy(z, y[i])) for z in own]
        assert row["mean_loss"] == pytest.approx(sum(losses) / len(own), abs=1e-5)
    share = float(trainer.callback_metrics["learned"])
    assert share == pytest.approx(found["first_learned"].notna().mean())


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16-true", torch.bfloat16), ("64-true", torch.float64), ("bf16-mixed", torch.float32)],
)
def test_lightning_examples_are_seen_in_the_precision_of_the_trainer(tmp_path, precision, dtype):
    torch.manual_seed(1)
    module, callback = Module(), LightningLearningTime()
    train(module, [callback], tmp_path, precision=precision)
    assert next(module.parameters()).dtype == dtype
    x, y = examples().tensors
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled="mixed" in precision):
        logits = module.net.eval()(x.to(dtype))
    assert callback.examples["correct"].tolist() == (logits.argmax(-1) == y).tolist()
    want = F.cross_entropy(logits.float(), y, reduction="none")
    assert callback.examples["loss"].tolist() == pytest.approx(want.tolist(), rel=1e-6)


def test_lightning_trains_as_without_it_and_modes_are_kept(tmp_path):
    torch.manual_seed(1)
    plain = Module()
    plain.net[2].eval()  # a mode of its own
    followed = copy.deepcopy(plain)
    train(plain, [], tmp_path)
    train(followed, [LightningLearningTime()], tmp_path)
    for left, right in zip(plain.parameters(), followed.parameters(), strict=True):
        assert torch.equal(left, right)
    assert [part.training for part in followed.net] == [True, True, False, True]
    assert followed.net.training


def test_what_it_finds_ranks_labels(tmp_path):
    callback = LightningLearningTime()
    train(Module(), [callback], tmp_path)
    split = as_split(*examples().tensors)
    ranking = rank_labels(split, [callback.examples])
    margins = example_scores(callback.examples)["negative_margin"]
    assert ranking["example"].iloc[0] == margins.argmax()


class Triples(torch.utils.data.Dataset):
    def __init__(self):
        self.x, self.y = examples().tensors

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i], i


class OnTriples(Module):
    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])


def test_other_batches_need_a_way_to_be_predicted(tmp_path):
    with pytest.raises(ValueError, match=r"`batch` must be a pair .* Give a `predict`"):
        train(OnTriples(), [LightningLearningTime()], tmp_path, Triples())
    callback = LightningLearningTime(predict=lambda module, batch: (module(batch[0]), batch[1]))
    other = LightningLearningTime(dataset=examples())
    module = OnTriples()
    train(copy.deepcopy(module), [callback], tmp_path, Triples())
    train(module, [other], tmp_path, Triples())
    pd.testing.assert_frame_equal(callback.examples, other.examples)
    assert callback.examples["forgotten"].sum() > 0


def test_logits_of_another_shape_are_refused(tmp_path):
    wrong = LightningLearningTime(
        predict=lambda module, batch: (module(batch[0])[:, :, None], batch[1])
    )
    with pytest.raises(ValueError, match=r"logits .*got shapes"):
        train(Module(), [wrong], tmp_path)


def test_before_the_first_epoch_there_is_nothing_to_ask():
    with pytest.raises(ValueError, match="after the first epoch; none has ended"):
        LightningLearningTime().examples  # noqa: B018


def test_transformers_examples_are_those_of_the_model(tmp_path):
    torch.manual_seed(0)
    model, data = bert(), rows(bert)
    callback = TransformersLearningTime()
    logs = train_transformers(model, data, tmp_path, callbacks=[callback])
    model.eval()
    batch = {key: torch.stack([row[key] for row in data]) for key in data[0]}
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch).logits
    found = callback.examples
    assert found["correct"].tolist() == (logits.argmax(-1) == labels).tolist()
    want = F.cross_entropy(logits, labels, reduction="none")
    assert found["loss"].tolist() == pytest.approx(want.tolist(), rel=1e-5)
    assert logs[-1]["learned"] == found["first_learned"].notna().mean()
    assert found["last_learned"].max() <= 3


def test_transformers_trains_as_without_it(tmp_path):
    torch.manual_seed(0)
    plain = bert()
    followed = copy.deepcopy(plain)
    train_transformers(plain, rows(bert), tmp_path)
    train_transformers(followed, rows(bert), tmp_path, callbacks=[TransformersLearningTime()])
    for left, right in zip(plain.parameters(), followed.parameters(), strict=True):
        assert torch.equal(left, right)
