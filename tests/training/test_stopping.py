"""Property: each rule ends a run at the epoch that its own history says; statuses are values."""

from dataclasses import replace

import pytest
import torch

from gengap._streams import streams
from gengap.training import Lane, Probes, Recipe, fit, make_trainer
from tests.reference.plain_training import loss_of, optimizer_of, seeded
from tests.training.cases import make_split, normed, perceptron, weights

RECIPE = Recipe(epochs=30, batch_size=10, lr=0.1)
SPLIT = make_split(n=30)


def train(recipe=RECIPE, split=SPLIT, build=perceptron, **fields):
    return fit(build, split, recipe=replace(recipe, **fields))


FULL = train().history


@pytest.mark.parametrize("every", [1, 4])
def test_accuracy(every):
    run = train(stop_at_accuracy=0.8, evaluate_every=every)
    seen = FULL[(FULL["epoch"] > 0) & (FULL["epoch"] % every == 0)]
    assert run.epochs == seen[seen["train_accuracy"] >= 0.8]["epoch"].min()
    assert run.status == "fitted"
    assert f"epoch {run.epochs}" in run.reason


def test_loss():
    run = train(stop_at_loss=0.5)
    seen = FULL[FULL["epoch"] > 0]
    assert run.epochs == seen[seen["train_loss"] <= 0.5]["epoch"].min()
    assert run.status == "fitted"


def test_epochs_used_up():
    short = train(epochs=2)
    assert (short.status, short.epochs, short.steps) == ("stopped", 2, 6)
    missed = train(epochs=2, stop_at_accuracy=1.0)
    assert missed.status == "stopped"
    long = train(epochs=90)
    assert long.final["train_accuracy"] == 1
    assert (long.status, long.epochs) == ("fitted", 90)
    assert long.epochs_to_fit() == long.history.query("train_accuracy == 1")["epoch"].min()


def plateau(values, patience):
    """First epoch at which the smallest value is `patience` epochs old; epochs count from 1."""
    best, since = float("inf"), 0
    for epoch, value in values:
        if value < best:
            best, since = value, epoch
        if epoch - since >= patience:
            return epoch, since
    return None


@pytest.mark.parametrize("every", [1, 3])
def test_patience(every):
    recipe = replace(RECIPE, lr=2.0, epochs=40, evaluate_every=every)
    whole = train(recipe).history
    run = train(recipe, patience=4)
    values = whole[["epoch", "train_loss"]].to_numpy()[1:]
    epoch, since = plateau(values, 4)
    assert (run.epochs, run.status) == (epoch, "stopped")
    assert f"epoch {int(since)}" in run.reason and since < epoch
    best = train(recipe, epochs=int(since))
    assert torch.equal(weights(run.model), weights(best.model))


@pytest.mark.parametrize("rule", [{"patience": 2}, {"early_stopping": 2, "held_out": 0.3}])
def test_the_best_epoch_is_one_after_a_step(rule):
    kept = {}

    def on_epoch(trainer):
        kept[trainer.epoch] = trainer.program.lane(0)["1.weight"]

    run = fit(perceptron, SPLIT, recipe=replace(RECIPE, lr=20.0, **rule), on_epoch=on_epoch)
    losses = run.history["train_loss" if "patience" in rule else "held_out_loss"]
    assert losses.idxmin() == 0
    assert torch.equal(run.model[1].weight, kept[losses[1:].idxmin()])


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"patience": 3},
        {"early_stopping": 3, "held_out": 0.3},
        {"early_stopping": 5, "held_out": 0.3, "patience": 2},
        {"early_stopping": 3, "held_out": 0.3, "evaluate_every": 2},
    ],
)
@pytest.mark.parametrize("lr", [0.1, 3.0])
def test_the_kept_row_is_of_the_network_that_is_returned(rules, lr):
    test = make_split(n=50, half="test")
    run = fit(perceptron, SPLIT, test=test, recipe=replace(RECIPE, lr=lr, **rules))
    x, y = test.batch()
    loss = torch.nn.functional.cross_entropy(run.model(x), y)
    assert run.kept["test_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert run.final == run.rows[-1]
    assert rules or run.kept == run.final


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("build", [perceptron, normed])
def test_early_stopping_returns_the_best_epoch(every, build):
    split = replace(SPLIT, changed=torch.arange(30) % 2 == 0)
    recipe = replace(RECIPE, batch_size=7, early_stopping=4, held_out=0.3, evaluate_every=every)
    kept = {}

    def on_epoch(trainer):
        kept[trainer.epoch] = trainer.program.lane(0)

    run = fit(build, split, recipe=recipe, on_epoch=on_epoch)
    values = run.history[["epoch", "held_out_loss"]].to_numpy()[1:]
    epoch, since = plateau(values, 4)
    assert (run.status, run.epochs) == ("stopped", epoch)
    assert since < epoch
    best = kept[int(since)]
    assert all(torch.equal(v, best[n]) for n, v in run.model.named_parameters())
    assert all(torch.equal(v, best[n]) for n, v in run.model.named_buffers())
    assert run.steps == epoch * 3  # 21 of 30 examples, in batches of 7
    assert run.history["clean_accuracy"].notna().all()


def test_early_stopping_counts_the_epoch_at_which_another_rule_ends_the_run():
    recipe = replace(RECIPE, early_stopping=30, held_out=0.3, stop_at_accuracy=0.75, lr=0.02)
    many = make_split(n=200)
    easy = replace(many, targets=many.inputs[:, :3].argmax(1), true_targets=None)
    kept = {}

    def on_epoch(trainer):
        kept[trainer.epoch] = trainer.program.lane(0)["1.weight"]

    run = fit(perceptron, easy, recipe=recipe, on_epoch=on_epoch)
    assert run.status == "fitted"
    losses = run.history["held_out_loss"][1:]
    assert losses.idxmin() == run.epochs  # still improving when the target is reached
    assert not torch.equal(run.model[1].weight, kept[run.epochs - 1])


@pytest.mark.parametrize("every", [1, 7])
def test_divergence_names_the_step(every):
    run = train(lr=1e25, epochs=5, evaluate_every=every)
    assert run.status == "diverged"
    step = int(run.reason.split("step ")[1].rstrip("."))
    losses = []  # of the obvious loop
    model = seeded(perceptron, 0)
    optimizer = optimizer_of(model, replace(RECIPE, lr=1e25))
    for epoch in range(5):
        order = torch.randperm(30, generator=streams(0)("batches", epoch))
        for rows in order.split(10):
            loss = loss_of(model(SPLIT.inputs[rows]), SPLIT.targets[rows], RECIPE)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    finite = torch.tensor(losses).isfinite().tolist()
    assert step == finite.index(False) + 1


def test_an_interruption_gives_what_there_is():
    def stop(trainer):
        if trainer.epoch == 3:
            raise KeyboardInterrupt

    run = fit(perceptron, SPLIT, recipe=RECIPE, on_epoch=stop)
    assert (run.status, run.epochs) == ("interrupted", 3)
    assert run.reason == "Interrupted after epoch 3."
    whole = fit(perceptron, SPLIT, recipe=replace(RECIPE, epochs=3))
    assert torch.equal(weights(run.model), weights(whole.model))
    columns = [c for c in whole.history if c != "seconds"]
    assert run.history[columns].equals(whole.history[columns])


class Interrupted(torch.nn.Module):
    """The user presses Ctrl-C in a pass over a batch: the one after `left` others of its mode."""

    def __init__(self, left, mode):
        super().__init__()
        self.out, self.left, self.mode = torch.nn.Linear(6, 3), left, mode

    def forward(self, x):
        if torch.is_grad_enabled() == self.mode:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return self.out(x)


# Passes in evaluation mode: 2 that check the network, then 3 a half and epoch. An epoch: 5 steps.
@pytest.mark.parametrize("patience", [None, 9])
@pytest.mark.parametrize(("left", "mode"), [(14, False), (16, False), (18, False), (7, True)])
def test_an_interrupted_run_is_one_that_ended_at_its_last_evaluation(left, mode, patience):
    many, test = make_split(n=2500), make_split(n=2500, half="test")
    recipe = replace(RECIPE, batch_size=500, epochs=9, patience=patience)
    how = {"test": test, "probes": Probes(examples=True)}

    run = fit(lambda: Interrupted(left, mode), many, recipe=recipe, **how)
    whole = fit(lambda: Interrupted(10**9, mode), many, recipe=replace(recipe, epochs=1), **how)

    assert run.status == "interrupted"
    before = 1 if mode else 2
    more = "" if mode else "; this is the run at epoch 1, its last evaluation"
    assert run.reason == f"Interrupted after epoch {before}{more}."
    columns = [c for c in whole.history if c != "seconds"]
    assert run.history[columns].equals(whole.history[columns])
    assert run.examples.equals(whole.examples)
    assert torch.equal(run.model.out.weight, whole.model.out.weight)


def test_an_interruption_as_a_lane_is_handed_over_counts_it_once():
    lanes = [Lane(split=SPLIT, seed=s, lr=lr) for s, lr in ((0, 1e30), (1, 0.1))]
    trainer, _ = make_trainer(perceptron, lanes, recipe=RECIPE, device=torch.device("cpu"))
    seen = []

    def on_epoch(trainer):
        if seen:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run(seen.append, on_epoch)
    assert sorted((o.lane, o.status) for o in seen) == [(0, "diverged"), (1, "interrupted")]


def test_an_interruption_before_anything_is_known_is_raised():
    with pytest.raises(KeyboardInterrupt):
        fit(Stopping, SPLIT, recipe=RECIPE)


class Stopping(torch.nn.Module):
    """The user presses Ctrl-C during the first evaluation."""

    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(6, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 1:
            raise KeyboardInterrupt
        return self.out(x)
