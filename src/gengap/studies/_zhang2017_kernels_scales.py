"""On what, and how much of it, section 5 of Zhang et al. (2017) is repeated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from gengap._streams import streams
from gengap.data import Split
from gengap.kernels import GaborFeatures, RandomConvolutions

from ._plain_pixels import plain_pixels

Scale = Literal["smoke", "small", "paper"]
PIXELS, GABOR = "pixels", "Gabor"


@final
@dataclass(frozen=True, kw_only=True)
class Interpolant:
    """A kernel on a data set's pixels or features.

    Attributes:
        data: Name of the data set.
        features: PIXELS, or GABOR.
        examples: Training examples, drawn a seed; None takes all.
        tests: Test examples, drawn once; None takes all.
        bandwidth: b of the Gaussian kernel; None chooses it by leave-one-out.
        paper: The paper's test error with all examples, in percent.
    """

    data: str
    features: str
    examples: int | None
    tests: int | None = None
    bandwidth: float | None = None
    paper: float | None = None

    @property
    def name(self) -> str:
        """As in tables."""
        return f"{self.data}, {self.features}"


@final
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Ever more random convolutions of a data set.

    Attributes:
        data: Name of the data set.
        examples: Training examples, drawn a seed; None takes all.
        tests: Test examples, drawn; None takes all.
        counts: Numbers of filters.
        patch: Their side.
    """

    data: str
    examples: int | None
    tests: int | None
    counts: tuple[int, ...]
    patch: int = 6

    def how(self, seed: int) -> RandomConvolutions:
        """Return how the largest bank is drawn."""
        return RandomConvolutions(num_filters=self.counts[-1], patch=self.patch, seed=seed)


RIDGES = (0.0, 0.1)
"""Of the kernels: in units of the kernel of an example with itself, which is 1."""
FILTER_RIDGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
"""Of the random convolutions: in units of the mean squared length of centred features."""
LEVELS = (0.0, 0.5, 1.0)


def interpolants(scale: Scale) -> list[Interpolant]:
    """Return the kernels of a scale."""
    if scale == "smoke":
        return [
            Interpolant(data="digits", features=PIXELS, examples=500),
            Interpolant(data="digits", features=GABOR, examples=500),
        ]
    few = scale == "small"
    digits: dict[str, Any] = {"data": "mnist", "examples": 4_000 if few else None}
    images: dict[str, Any] = {"data": "cifar-10", "examples": 3_000 if few else None}
    tests: dict[str, Any] = {"tests": 5_000 if few else None}
    return [
        Interpolant(features=PIXELS, bandwidth=0.02, paper=1.2, **digits, **tests),
        Interpolant(features=GABOR, paper=0.6, **digits, **tests),
        Interpolant(features=PIXELS, paper=46.0, **images, **tests),
    ]


def filters(scale: Scale) -> Filters:
    """Return the random convolutions of a scale."""
    counts: tuple[int, ...]
    if scale == "smoke":
        counts = (4, 16, 64, 256)
        return Filters(data="digits", examples=500, tests=None, counts=counts, patch=3)
    if scale == "small":
        counts = (32, 64, 128, 256, 312, 400, 640, 1280)
        return Filters(data="cifar-10", examples=2_500, tests=2_000, counts=counts)
    counts = (500, 1_000, 2_000, 4_000, 6_250, 8_000, 16_000, 32_000)
    return Filters(data="cifar-10", examples=None, tests=None, counts=counts)


def images(data: str, examples: int | None, tests: int | None, seed: int) -> tuple[Split, Split]:
    """Return training images drawn for a seed, and the same test images for all of them."""
    train, test = plain_pixels(data, test_examples=tests).load()
    assert test is not None
    if examples is not None and examples < len(train):
        order = torch.randperm(len(train), generator=streams(seed)("examples"))
        train = train[order[:examples].sort().values]
    return train, test


def features_of(name: str, data: str) -> Callable[[Tensor], Tensor]:
    """Return the way from images to the rows of a kernel."""
    if name == PIXELS:
        return lambda images: images.flatten(1)
    if data == "digits":
        return GaborFeatures(wavelengths=(2.5, 5.0), grid=4)
    return GaborFeatures()
