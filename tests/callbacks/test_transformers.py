"""Twin: coherence in the logs of a real Transformers trainer. Oracle: one sequence at a time."""

import copy
import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

from gengap.callbacks import TransformersCoherence
from tests.callbacks.cases import hooks
from tests.gradients.test_meter import m_coherence_of

pytestmark = [
    pytest.mark.global_rng,
    *map(pytest.mark.filterwarnings, ("ignore::UserWarning", "ignore::DeprecationWarning")),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
N, LENGTH, WORDS = 8, 6, 17


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_positions=LENGTH,
        n_embd=8,
        n_layer=2,
        n_head=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config)


def bert():
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config)


def rows(kind):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(WORDS, (N, LENGTH), generator=generator)
    labels = tokens if kind is gpt2 else torch.randint(3, (N,), generator=generator)
    return [
        {"input_ids": t, "labels": y, "attention_mask": torch.ones_like(t)}
        for t, y in zip(tokens, labels, strict=True)
    ]


def gradients_one_by_one(model, data):
    model = copy.deepcopy(model).double().train()
    blocks = {name: [] for name, p in model.named_parameters() if p.requires_grad}
    for row in data:
        model.zero_grad()
        model(**{key: value[None] for key, value in row.items()}).loss.backward()
        for name, p in model.named_parameters():
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            blocks[name].append(grad.clone().flatten())
    return {name: torch.stack(values) for name, values in blocks.items()}


def train(model, data, tmp_path, *, accumulate=1, callbacks=()):
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=N // accumulate,
        gradient_accumulation_steps=accumulate,
        max_steps=3,
        optim="sgd",
        learning_rate=0.1,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=data, callbacks=list(callbacks)
    )
    trainer.train()
    return trainer.state.log_history


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", [gpt2, bert])
def test_a_two_layer_model_is_metered(kind, accumulate, tmp_path):
    torch.manual_seed(0)
    model, data = kind(), rows(kind)
    blocks = gradients_one_by_one(model, data)
    callback = TransformersCoherence()
    logs = train(model, data, tmp_path, accumulate=accumulate, callbacks=[callback])
    step, first = callback.readings[0]
    assert (step, first.examples, len(callback.readings)) == (1, N, 3)
    assert first.m_coherence == pytest.approx(m_coherence_of(blocks), rel=1e-3)
    logged = [row["m_coherence"] for row in logs if "m_coherence" in row]
    assert logged == [reading.m_coherence for _, reading in callback.readings]


def test_training_is_what_it_is_without_the_callback(tmp_path):
    torch.manual_seed(0)
    plain = gpt2()
    metered = copy.deepcopy(plain)
    train(plain, rows(gpt2), tmp_path)
    train(metered, rows(gpt2), tmp_path, callbacks=[TransformersCoherence()])
    for left, right in zip(plain.parameters(), metered.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


class Breaks(transformers.TrainerCallback):
    """Stops after the second backward pass, as Ctrl-C may."""

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == 1:
            raise KeyboardInterrupt


@pytest.fixture
def broken_off(tmp_path):
    """A model, a callback whose training broke off within a step, and the error, kept alive."""
    torch.manual_seed(0)
    model, callback = gpt2(), TransformersCoherence()
    before = hooks(model)
    with pytest.raises(KeyboardInterrupt) as error:
        train(model, rows(gpt2), tmp_path, callbacks=[Breaks(), callback])
    assert hooks(model) > before
    return model, callback, before, error


@pytest.mark.parametrize(
    "again", ["with a new callback", "with the same callback", "on another model"]
)
def test_a_training_that_broke_off_is_begun_again(broken_off, again, tmp_path):
    old, callback, before, _ = broken_off
    model = gpt2() if "model" in again else old
    callback = TransformersCoherence() if "new" in again else callback
    callback.readings.clear()
    twin = copy.deepcopy(model) if model is not old else None  # a meter is not copied
    train(model, rows(gpt2), tmp_path, callbacks=[callback])
    if twin is not None:
        want = m_coherence_of(gradients_one_by_one(twin, rows(gpt2)))
        assert callback.readings[0][1].m_coherence == pytest.approx(want, rel=1e-3)
    assert [(step, read.examples) for step, read in callback.readings] == [(1, N), (2, N), (3, N)]
    assert hooks(model) == hooks(old) == before


def test_close_takes_the_meter_off(broken_off):
    model, callback, before, _ = broken_off
    callback.close()
    assert hooks(model) == before
    callback.close()
