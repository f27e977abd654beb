"""A sweep of twelve short trials on digits, run by the tests here and in processes to be killed.

Run: python tests/lab/sweep.py STORE WORKERS [EPOCHS]. Checkpoints after every epoch.
"""

import sys

import gengap
from gengap.corruptions import RandomLabels, ShuffledPixels
from gengap.lab import Data, Lab, LocalEngine, Model, Trial

DIGITS = Data.named("digits", examples=200)
MLP = Model.named("mlp", hidden=(16,))


def sweep(epochs=30, *, seeds=(0, 1, 2)):
    """Three groups of four lanes; some lanes fit early, one diverges."""
    corruptions = (
        None,
        RandomLabels(probability=0.5),
        RandomLabels(probability=1.0),
        ShuffledPixels(),
    )
    return [
        Trial(
            data=DIGITS,
            model=MLP,
            recipe=gengap.Recipe(
                epochs=epochs, lr=1e12 if (seed, corruption) == (1, None) else 0.1, batch_size=32
            ),
            corruption=corruption,
            seed=seed,
        )
        for seed in seeds
        for corruption in corruptions
    ]


def lab(address, *, workers=1, lanes=4):
    return Lab(
        address, engine=LocalEngine(workers, checkpoint_seconds=0.0), device="cpu", lanes=lanes
    )


def untimed(history):
    """A history as bytes that must agree, without the time that it took."""
    return history.drop(columns="seconds").to_csv(index=False, float_format="%.17g")


if __name__ == "__main__":
    lab(sys.argv[1], workers=int(sys.argv[2])).run(sweep(int((sys.argv[3:] or [30])[0])))
