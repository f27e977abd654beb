"""Built-in images with pixels in [0, 1], and nothing else done to them."""

import functools
from dataclasses import replace

from gengap.data import Preprocessing, Split
from gengap.lab import Data


def plain_pixels(
    name: str, *, examples: int | None = None, test_examples: int | None = None
) -> Data:
    """Return a built-in data set whose pixels are divided by their largest value.

    Args:
        name: A name that `gengap.load` knows.
        examples: Train on so many examples, drawn once.
        test_examples: Test on so many examples, drawn once.
    """
    usual = Data.named(name, examples=examples, test_examples=test_examples)

    @functools.cache
    def load() -> tuple[Split, Split | None]:
        train, test = usual.load()
        plain = Preprocessing(scale=train.preprocessing.scale)
        return replace(train, preprocessing=plain), test and replace(test, preprocessing=plain)

    return Data({**usual.spec, "preprocessing": "pixels in [0, 1]"}, load)
