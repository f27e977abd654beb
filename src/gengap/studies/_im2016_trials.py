"""The trials that repeat Im et al. (2016): optimizers that go from one start."""

from collections.abc import Sequence
from typing import Literal

from gengap.lab import Data, Model, Trial
from gengap.training import Recipe

from ._gather import Entry

Scale = Literal["smoke", "small", "paper"]

OPTIMIZERS = {
    "SGD": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0},
    "momentum": {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9},
    "Adam": {"optimizer": "adam", "lr": 0.001},
    "RMSprop": {"optimizer": "rmsprop", "lr": 0.001, "beta2": 0.99},
}
NETWORKS = {"without BatchNorm": False, "with BatchNorm": True}
CORNERS = ("SGD", "Adam", "RMSprop")
"""The optimizers whose ends span the planes."""

HIDDEN = {"smoke": (64, 64), "small": (256, 256), "paper": (512, 512)}
EXAMPLES = {"smoke": 600, "small": 10_000, "paper": None}
EPOCHS = {"smoke": 20, "small": 30, "paper": 60}
SIZE = {"smoke": 9, "small": 21, "paper": 31}


def trial(network: str, optimizer: str, scale: Scale, seed: int) -> Trial:
    """Return the trial of an optimizer; all of a seed start from the same weights."""
    return Trial(
        data=Data.named("digits" if scale == "smoke" else "mnist", examples=EXAMPLES[scale]),
        model=Model.named("mlp", hidden=HIDDEN[scale], batch_norm=NETWORKS[network]),
        recipe=Recipe(
            epochs=EPOCHS[scale],
            batch_size=50 if scale == "smoke" else 100,
            **OPTIMIZERS[optimizer],  # type: ignore[arg-type]
        ),
        seed=seed,
    )


def entries(scale: Scale, seeds: Sequence[int]) -> list[Entry]:
    """Return the trials of a scale."""
    return [
        Entry(
            trial=trial(network, optimizer, scale, seed),
            place={"network": network, "optimizer": optimizer},
        )
        for seed in seeds
        for network in NETWORKS
        for optimizer in OPTIMIZERS
    ]
