"""ImageNet as a folder of class folders, and a small synthetic folder of the same layout."""

import functools
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from gengap._errors import DataError
from gengap.data import Preprocessing, Split, as_splits, find_folder, roots
from gengap.lab import Data

FOLDER = "imagenet"
NUM_TRAIN, NUM_TEST, NUM_CLASSES = 1_281_167, 50_000, 1000


def imagenet(*, size: int, crop: int) -> Data:
    """Return ImageNet (ILSVRC 2012): `imagenet/train` and `imagenet/val`, one folder a class.

    The folder lies where built-in data sets do. Images are decoded when they are asked for, their
    values brought to [-1, 1]. The identity is the name: a hash would read 140 GB.

    Args:
        size: Side that images are brought to: scaled to cover it, cut around the centre.
        crop: Side of the window that the network sees.
    """

    @functools.cache
    def load() -> tuple[Split, Split]:
        folder = find_folder(FOLDER, root=None)
        if not folder.is_dir():
            places = " or ".join(f"`{place}`" for place in roots(None))
            raise DataError(
                f"`{FOLDER}` must be a folder in {places} with `train` and `val`, each with one "
                f"folder a class; there is none. The images come from image-net.org."
            )
        halves = as_splits(folder, name="imagenet", size=size, preprocessing=_inputs(crop))
        found = (len(halves[0]), len(halves[1]), halves[0].num_classes)
        if found != (NUM_TRAIN, NUM_TEST, NUM_CLASSES):
            raise DataError(
                f"`{folder}` must hold {NUM_TRAIN:,} training and {NUM_TEST:,} validation images "
                f"of {NUM_CLASSES:,} classes; got {found[0]:,}, {found[1]:,} and {found[2]:,}."
            )
        return halves

    return Data({"name": "imagenet", "size": size, "crop": crop}, load)


def synthetic(folder: Path, *, classes: int, train: int, test: int, size: int, crop: int) -> Data:
    """Return images in a folder laid out as ImageNet's, written when they are first loaded.

    Every class has a coarse pattern; an image is the pattern of its class at a size of its own,
    with noise.

    Args:
        folder: Where they are kept; written once.
        classes: Classes.
        train: Training images a class.
        test: Validation images a class.
        size: Side that images are brought to.
        crop: Side of the window that the network sees.
    """

    @functools.cache
    def load() -> tuple[Split, Split]:
        if not folder.is_dir():
            _write(folder, classes=classes, train=train, test=test, side=size)
        return as_splits(
            folder, name="synthetic images", size=size, preprocessing=_inputs(crop), in_memory=0
        )

    counts = {"classes": classes, "train": train, "test": test}
    return Data({"name": "synthetic images", **counts, "size": size, "crop": crop}, load)


def _inputs(crop: int) -> Preprocessing:
    return Preprocessing(scale=255.0, crop=crop, standardize="dataset", mean=(0.5,), std=(0.5,))


def _write(folder: Path, *, classes: int, train: int, test: int, side: int) -> None:
    """Write the images beside the folder, then give it its name: it is whole or not there."""
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    draws = np.random.default_rng(np.random.SeedSequence(2017))
    patterns = draws.integers(40, 216, (classes, 4, 4, 3))
    for half, count in (("train", train), ("val", test)):
        for label, pattern in enumerate(patterns):
            place = draft / half / f"n{label:08d}"
            place.mkdir(parents=True)
            for number in range(count):
                height, width = (side + draws.integers(0, side, 2)).tolist()
                coarse = Image.fromarray(pattern.astype(np.uint8))
                large = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
                noisy = large + draws.normal(0, 25, large.shape)
                image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
                image.save(place / f"n{label:08d}_{number}.JPEG", format="JPEG", quality=90)
    try:
        draft.rename(folder)
    except OSError:  # another rank was first
        shutil.rmtree(draft)
        if not folder.is_dir():
            raise
