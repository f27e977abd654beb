"""Twin: learning times of trainings that were resumed. Oracle: one that was not interrupted."""

import json
import warnings

import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pl = pytest.importorskip("lightning.pytorch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

from gengap.callbacks import LightningLearningTime, TransformersLearningTime
from tests.callbacks.test_learning_time import Module, examples
from tests.callbacks.test_transformers import bert, rows

pytestmark = [
    pytest.mark.global_rng,
    *map(pytest.mark.filterwarnings, ("ignore::UserWarning", "ignore::DeprecationWarning")),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
LOST = "the checkpoint does not hold what was seen"
EPOCHS = 4


class Plain(Module):
    """A module that draws nothing while it trains, so that it may be resumed."""

    def __init__(self):
        super().__init__()
        self.net[1] = torch.nn.Identity()

    def on_train_epoch_end(self):
        pass

    def test_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])


def lightning_trainer(epochs, callbacks, folder):
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
    )


def lightning(epochs, callbacks, folder, *, data=None, resume=None):
    torch.manual_seed(2)
    trainer = lightning_trainer(epochs, callbacks, folder)
    trainer.fit(Plain(), DataLoader(data or examples(), batch_size=8), ckpt_path=resume)
    return trainer


class StopAfter(transformers.TrainerCallback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.epoch >= self.epochs


def hugging(epochs, callbacks, folder, *, data=None, resume=None, save="epoch", **options):
    torch.manual_seed(2)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        num_train_epochs=EPOCHS,
        optim="sgd",
        learning_rate=2.0,
        lr_scheduler_type="constant",
        logging_steps=1000,
        report_to=[],
        save_strategy=save,
        save_steps=4,
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
        **options,
    )
    trainer = transformers.Trainer(
        model=bert(),
        args=arguments,
        train_dataset=data or rows(bert),
        callbacks=[StopAfter(epochs), *callbacks],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def held(checkpoint, every=1):
    states = json.loads((checkpoint / "trainer_state.json").read_text())["stateful_callbacks"]
    return states[f"gengap.TransformersLearningTime(every={every})"]


@pytest.fixture(params=["lightning", "transformers"])
def kind(request):
    """How to train, the callback, the number of examples and where the checkpoint is."""
    if request.param == "lightning":

        def halfway(callback, folder):
            trainer = lightning(2, [callback], folder)
            trainer.save_checkpoint(folder / "half.ckpt")
            return str(folder / "half.ckpt")

        return lightning, LightningLearningTime, halfway

    def halfway_there(callback, folder):
        hugging(2, [callback], folder)
        return str(folder / "checkpoint-8")

    return hugging, TransformersLearningTime, halfway_there


@pytest.mark.parametrize("every", [1, 2])
def test_a_resumed_training_has_the_table_of_one_that_was_not_interrupted(kind, every, tmp_path):
    train, callback, halfway = kind
    whole, resumed = callback(every=every), callback(every=every)
    train(EPOCHS, [whole], tmp_path / "whole")
    checkpoint = halfway(callback(every=every), tmp_path / "half")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{LOST}")
        train(EPOCHS, [resumed], tmp_path / "half", resume=checkpoint)
    pd.testing.assert_frame_equal(resumed.examples, whole.examples, check_exact=True)
    assert set(whole.examples["first_learned"].dropna()) <= set(range(every, EPOCHS + 1, every))
    assert whole.examples["first_learned"].min() == every


def test_a_training_from_the_start_begins_anew(kind, tmp_path):
    train, callback, _ = kind
    followed = callback()
    train(EPOCHS, [followed], tmp_path / "first")
    first = followed.examples
    train(EPOCHS, [followed], tmp_path / "second")
    pd.testing.assert_frame_equal(followed.examples, first, check_exact=True)


def test_a_checkpoint_without_what_was_seen_is_said_to_be(kind, tmp_path):
    train, callback, halfway = kind
    checkpoint = halfway(pl.Callback() if train is lightning else StopAfter(9), tmp_path)
    late = callback()
    with pytest.warns(UserWarning, match=f"goes on after epoch 2, .*{LOST}"):
        train(EPOCHS, [late], tmp_path, resume=checkpoint)
    assert late.examples["first_learned"].min() == 3


def test_other_examples_are_not_taken_for_those_of_the_checkpoint(kind, tmp_path):
    train, callback, halfway = kind
    checkpoint = halfway(callback(), tmp_path)
    data = examples() if train is lightning else rows(bert)
    turned = torch.utils.data.Subset(data, list(range(len(data)))[::-1])
    late = callback(dataset=turned)
    with pytest.warns(UserWarning, match=f"goes on with other examples, .*{LOST}"):
        train(EPOCHS, [late], tmp_path, resume=checkpoint)
    assert late.examples["first_learned"].min() == 3


def test_what_was_seen_is_there_where_no_epoch_is_left(kind, tmp_path):
    train, callback, halfway = kind
    first, again = callback(), callback()
    checkpoint = halfway(first, tmp_path)
    if train is lightning:
        with pytest.raises(ValueError, match="none has ended"):
            again.examples  # noqa: B018
        held = torch.load(checkpoint, weights_only=True)
        again.on_load_checkpoint(lightning_trainer(2, [again], tmp_path), None, held)
        again.on_train_start(type("Done", (), {"current_epoch": 2}), None)
    else:
        hugging(0, [again], tmp_path, resume=checkpoint, max_steps=8)
    pd.testing.assert_frame_equal(again.examples, first.examples, check_exact=True)


def test_a_test_of_an_older_checkpoint_does_not_turn_lightning_back(tmp_path):
    whole, followed = LightningLearningTime(), LightningLearningTime()
    lightning(EPOCHS + 2, [whole], tmp_path / "whole")
    keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer = lightning(EPOCHS, [followed, keep], tmp_path)
    before, module = followed.examples, trainer.lightning_module
    trainer.test(Plain(), DataLoader(examples(), batch_size=8), ckpt_path=tmp_path / "epoch=1.ckpt")
    pd.testing.assert_frame_equal(followed.examples, before, check_exact=True)
    trainer.fit_loop.max_epochs = EPOCHS + 2
    trainer.fit(module, DataLoader(examples(), batch_size=8))
    pd.testing.assert_frame_equal(followed.examples, whole.examples, check_exact=True)


def alike(train):
    """Other examples with the same labels."""
    if train is hugging:
        return [{**row, "input_ids": row["input_ids"].flip(0)} for row in rows(bert)]
    x, y = examples().tensors
    return TensorDataset(-x, y)


def test_two_data_sets_of_the_same_labels_are_followed_at_once(kind, tmp_path):
    train, callback, _ = kind

    def both():
        return [callback(), callback(dataset=alike(train))]

    wholes, halves, resumed = both(), both(), both()
    train(EPOCHS, wholes, tmp_path / "whole")
    trainer = train(2, halves, tmp_path)
    if train is lightning:
        trainer.save_checkpoint(tmp_path / "half.ckpt")
    checkpoint = tmp_path / ("half.ckpt" if train is lightning else "checkpoint-8")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{LOST}")
        train(EPOCHS, resumed, tmp_path / "on", resume=str(checkpoint))
    for got, want in zip(resumed, wholes, strict=True):
        pd.testing.assert_frame_equal(got.examples, want.examples, check_exact=True)
    swapped = both()[::-1]
    with pytest.warns(UserWarning, match=f"goes on with other examples, .*{LOST}"):
        train(EPOCHS, swapped, tmp_path / "swapped", resume=str(checkpoint))
    assert [one.examples["first_learned"].min() for one in swapped] == [3, 3]


class Drawn(torch.utils.data.Dataset):
    """Examples with a random transform."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        x, y = self.data[i]
        return x + torch.randn(x.shape), y


def test_examples_that_are_drawn_anew_are_those_of_the_checkpoint(tmp_path):
    half, resumed = (LightningLearningTime(dataset=Drawn(examples())) for _ in range(2))
    lightning(2, [half], tmp_path).save_checkpoint(tmp_path / "half.ckpt")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{LOST}")
        lightning(EPOCHS, [resumed], tmp_path, resume=tmp_path / "half.ckpt")
    assert resumed.examples["first_learned"].min() < 3


def test_lightning_looks_where_a_checkpoint_was_written_before_the_look(tmp_path):
    whole, half, resumed = (LightningLearningTime() for _ in range(3))
    keep = pl.callbacks.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=8)
    lightning(EPOCHS, [whole], tmp_path)
    lightning(2, [half, keep], tmp_path)  # a checkpoint after step 8, the last of epoch 2
    lightning(EPOCHS, [resumed], tmp_path, resume=tmp_path / "step=8.ckpt")
    pd.testing.assert_frame_equal(resumed.examples, whole.examples, check_exact=True)


def test_transformers_looks_where_a_checkpoint_was_written_before_the_look(tmp_path):
    whole, resumed = TransformersLearningTime(), TransformersLearningTime()
    hugging(EPOCHS, [whole], tmp_path / "whole")
    hugging(2, [TransformersLearningTime()], tmp_path, save="steps")
    hugging(EPOCHS, [resumed], tmp_path, resume=str(tmp_path / "checkpoint-8"))
    pd.testing.assert_frame_equal(resumed.examples, whole.examples, check_exact=True)


def test_transformers_goes_on_within_an_epoch(tmp_path):
    whole, resumed = TransformersLearningTime(), TransformersLearningTime()
    hugging(EPOCHS, [whole], tmp_path / "whole")
    hugging(2, [TransformersLearningTime()], tmp_path)
    options = {"resume": str(tmp_path / "checkpoint-8"), "save": "steps", "max_steps": 10}
    hugging(3, [TransformersLearningTime()], tmp_path, **options)
    hugging(EPOCHS, [resumed], tmp_path, resume=str(tmp_path / "checkpoint-10"))
    assert resumed.examples["first_learned"].max() <= EPOCHS
    pd.testing.assert_frame_equal(resumed.examples, whole.examples, check_exact=True)


def test_transformers_keeps_the_callback_and_its_data_set(tmp_path):
    data = rows(bert)
    turned = torch.utils.data.Subset(data, list(range(len(data)))[::-1])
    whole, resumed = (TransformersLearningTime(dataset=turned) for _ in range(2))
    hugging(EPOCHS, [whole], tmp_path / "whole")
    hugging(2, [TransformersLearningTime(dataset=turned)], tmp_path)
    options = {"restore_callback_states_from_checkpoint": True}
    hugging(EPOCHS, [resumed], tmp_path, resume=str(tmp_path / "checkpoint-8"), **options)
    pd.testing.assert_frame_equal(resumed.examples, whole.examples, check_exact=True)


def test_transformers_checkpoints_hold_text_alone(tmp_path):
    callback = TransformersLearningTime()
    hugging(2, [callback], tmp_path)
    found = held(tmp_path / "checkpoint-8")
    assert (found["epoch"], found["evaluations"]) == (2, 2)
    assert found["first"][:2] == ["<i8", [1, len(rows(bert))]]
    assert all(isinstance(value[2], str) for value in found.values() if isinstance(value, list))


def test_a_last_epoch_that_is_cut_short_counts_as_one_and_once(tmp_path):
    callback = TransformersLearningTime(every=2)
    hugging(EPOCHS, [callback], tmp_path / "short", max_steps=5)  # four steps an epoch
    assert callback.examples["first_learned"].min() == 2
    hugging(EPOCHS, [callback], tmp_path, resume=str(tmp_path / "short" / "checkpoint-5"))
    assert held(tmp_path / "checkpoint-16", every=2)["evaluations"] == 2
