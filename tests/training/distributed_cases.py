"""Runs that one process and two that train together must agree on; a script of a rank, too."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed, nn

from gengap.data import Augmentation, Preprocessing, Source, Split, current_ranks
from gengap.training import Lane, Probes, Recipe, fit, make_trainer
from tests.training.cases import (
    convolutional,
    make_images,
    make_real,
    make_split,
    normed,
    perceptron,
    tanh_network,
    weights,
)

RECIPE = Recipe(epochs=25, batch_size=12, lr=0.05)
SHORT = replace(RECIPE, epochs=6)
PROBES = Probes(
    coherence=20, examples=True, null_worlds=3, first_steps=3, growth=2.0, every=8, top=2
)


class Idle(nn.Module):
    """A layer that nobody calls."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = tanh_network(), nn.Linear(3, 3)

    def forward(self, x):
        return self.used(x)


def corrupted(n):
    return replace(make_split(n=n), changed=torch.arange(n) % 3 == 0)


def runs():
    """Yield the name of a case and what runs it; 41 examples leave an epoch a batch of five."""
    yield (
        "perceptron, dropout",
        lambda: fit(
            lambda: perceptron(dropout=0.2),
            corrupted(41),
            test=make_split(n=17, half="test"),
            recipe=RECIPE,
            probes=PROBES,
            seed=3,
        ),
    )
    yield (
        "one example left",
        lambda: fit(
            tanh_network, make_split(n=37), recipe=replace(SHORT, optimizer="adamw", lr=0.01)
        ),
    )
    yield (
        "median of three",
        lambda: fit(
            tanh_network,
            make_split(n=40),
            recipe=replace(SHORT, optimizer="rolling_median_of_three"),
        ),
    )
    yield (
        "winsorized, products",
        lambda: fit(
            perceptron,
            make_split(n=41),
            recipe=replace(SHORT, optimizer="winsorized_sgd", clip_percent=15.0),
        ),
    )
    yield (
        "batch norm, augmentation",
        lambda: fit(
            lambda: convolutional(dropout=0.2),
            make_images(n=42),
            recipe=replace(
                RECIPE,
                weight_decay=0.01,
                label_smoothing=0.1,
                augmentation=Augmentation(flip=True, random_crop=True, padding=1, rotation=10.0),
            ),
            probes=PROBES,
        ),
    )
    yield (
        "a part without use, one example left",
        lambda: fit(Idle, make_split(n=37), recipe=replace(SHORT, weight_decay=0.05, momentum=0.5)),
    )
    scaled = replace(make_images(n=40), preprocessing=Preprocessing(scale=255.0, crop=6))
    yield (
        "trimmed, blocks of gradients",
        lambda: fit(
            lambda: nn.Sequential(
                nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3)
            ),
            scaled,
            recipe=replace(SHORT, optimizer="trimmed_mean_sgd", clip_percent=15.0, batch_size=10),
        ),
    )
    yield (
        "early stopping",
        lambda: fit(
            lambda: normed(dropout=0.3),
            make_split(n=50),
            recipe=replace(SHORT, early_stopping=3, held_out=0.25),
        ),
    )
    yield (
        "regression",
        lambda: fit(
            lambda: perceptron(dim=5, classes=2),
            make_real(n=31),
            recipe=replace(SHORT, loss="squared_error"),
        ),
    )


class Counted(Source):
    """Examples in memory that count which of them are read."""

    def __init__(self, examples):
        self.examples, self.reads = examples, torch.zeros(len(examples), dtype=torch.int64)
        self.shape, self.dtype = tuple(examples.shape), examples.dtype

    def gather(self, indices):
        self.reads += torch.bincount(indices, minlength=len(self.reads))
        return self.examples[indices]

    def fingerprint(self):
        return "counted"


def streamed():
    """Train an epoch on a source; how often this process read each example, and the run."""
    split = make_split(n=41)
    source = Counted(split.inputs)
    run = fit(
        tanh_network,
        Split(inputs=source, targets=split.targets, num_classes=3),
        recipe=replace(RECIPE, epochs=1),
    )
    return source.reads, plain(run)


def plain(run):
    """Return a run as tensors and plain data, without its seconds."""
    probed = run.probed
    return {
        "weights": weights(run.model),
        "rows": [{k: v for k, v in row.items() if k != "seconds"} for row in run.rows],
        "seconds": [row["seconds"] for row in run.rows],
        "status": run.status,
        "reason": run.reason,
        "coherence": dict(probed.coherence) if probed else {},
        "examples": dict(probed.examples) if probed else {},
    }


def resumed():
    """Train two epochs of four, restore the checkpoint of rank 0 and go on; the weights."""
    split, recipe = make_split(n=41), replace(RECIPE, epochs=4)
    ends, states = [], []

    def trainer():
        return make_trainer(
            tanh_network,
            [Lane(split=split)],
            recipe=recipe,
            device=torch.device("cpu"),
            ranks=current_ranks(),
        )[0]

    def on_epoch(current):
        if current.epoch == 2:
            tensors, state = current.state()
            states.append(({k: v.clone() for k, v in tensors.items()}, state))

    trainer().run(ends.append, on_epoch)
    tensors, state = states[0]
    state["rows"] = [state["rows"][0][:3]]
    again = trainer()
    of_first = current_ranks().from_first(list(tensors.values()))
    again.restore(dict(zip(tensors, of_first, strict=True)), state)
    again.run(ends.append)
    return [torch.cat([v.flatten() for v in end.values.values()]) for end in ends]


def refused(**given):
    """Return what `fit` says to ranks that were given different things."""
    try:
        fit(**{"model": tanh_network, "split": make_split(), "recipe": RECIPE} | given)
    except ValueError as error:
        return str(error)
    return ""


def main(folder, rank):
    """Be one of two ranks; write what it finds to `folder`."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    found = {name: plain(run()) for name, run in runs()}
    found["streamed"] = list(streamed())
    found["resumed"] = resumed()
    given = tanh_network()  # of PyTorch's own generator: other values on every rank
    found["given"] = plain(fit(given, make_split(), recipe=replace(RECIPE, epochs=1)))
    found["given at rank 0"] = given.state_dict()
    found["refused"] = [
        refused(seed=rank),
        refused(split=make_split(seed=rank)),
        refused(recipe=replace(RECIPE, lr=0.1 + rank)),
    ]
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    main(sys.argv[1], int(sys.argv[2]))
