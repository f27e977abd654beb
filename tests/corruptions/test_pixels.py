"""Closed form and property: multisets under permutations, moments of noise, nesting in scale."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gengap.corruptions import (
    AddedNoise,
    Compose,
    GaussianPixels,
    RandomPixels,
    ShuffledPixels,
)
from gengap.corruptions._example_draws import example_normals
from gengap.data import Preprocessing, Split

quick = settings(derandomize=True, database=None, deadline=None, max_examples=15)
seeds = st.integers(0, 2**40)
WHITENED = Preprocessing(scale=255.0, crop=(4, 6), standardize="image")
BY_CHANNEL = Preprocessing(scale=255.0, crop=(4, 6), standardize="dataset", mean=(0.2, 0.5),
                           std=(0.3, 2.0))  # fmt: skip


def make_split(n=12, shape=(2, 6, 8), half="train", preprocessing=WHITENED):
    """Make images whose values are all different within an image, and differ between channels."""
    rng = np.random.default_rng(3)
    size = int(np.prod(shape))
    inputs = np.stack([rng.permutation(256)[:size] for _ in range(n)]).astype(np.uint8)
    return Split(
        inputs=torch.from_numpy(inputs).view(n, *shape),
        targets=torch.arange(n) % 2,
        num_classes=2,
        half=half,
        preprocessing=preprocessing,
    )


def orders(split, result):
    """Return, for each image and channel, where each new pixel came from: [n, channels, pixels]."""
    old = split.preprocessing.cropped(split.inputs).flatten(2)
    new = result.inputs.flatten(2)
    return (new[..., :, None] == old[..., None, :]).float().argmax(-1)


@pytest.mark.parametrize("channels_together", [True, False])
@pytest.mark.parametrize("kind", [ShuffledPixels, RandomPixels])
@given(seed=seeds)
@quick
def test_permutations_keep_the_multiset_of_the_cropped_image(kind, channels_together, seed):
    split = make_split()
    result = kind(channels_together=channels_together)(split, seed=seed)
    start = 2 if channels_together else 1
    old, new = split.preprocessing.cropped(split.inputs), result.inputs
    assert torch.equal(old.flatten(start).sort(-1)[0], new.flatten(start).sort(-1)[0])


@given(seed=seeds)
@quick
def test_shuffled_pixels_is_one_permutation_for_all(seed):
    train, test = make_split(), make_split(n=5, half="test")
    found = torch.cat([orders(s, ShuffledPixels()(s, seed=seed)).flatten(0, 1)
                       for s in (train, test)])  # fmt: skip
    assert (found == found[0]).all()
    assert sorted(found[0].tolist()) == list(range(24))


@given(seed=seeds)
@quick
def test_random_pixels_is_one_permutation_an_image(seed):
    split = make_split()
    found = orders(split, RandomPixels()(split, seed=seed))
    assert (found[:, 0] == found[:, 1]).all()  # the channels move together
    assert len({tuple(order) for order in found[:, 0].tolist()}) == len(split)


def test_channels_apart_mix_channels():
    split = make_split()
    old = split.preprocessing.cropped(split.inputs)
    for kind in (ShuffledPixels, RandomPixels):
        new = kind(channels_together=False)(split, seed=0).inputs
        assert not torch.equal(old.flatten(2).sort(-1)[0], new.flatten(2).sort(-1)[0])


def test_random_permutations_are_uniform():
    """Closed form: pixel 0 lands on each of 24 places in 1/24 of the images, within 5 sigma."""
    n = 6000
    split = make_split(n)
    places = orders(split, RandomPixels()(split, seed=0))[:, 0, 0]
    counts = torch.bincount(places, minlength=24).double()
    sigma = (n * (1 / 24) * (23 / 24)) ** 0.5
    assert ((counts - n / 24).abs() < 5 * sigma).all()


@pytest.mark.parametrize("kind", [ShuffledPixels, RandomPixels])
def test_permutation_and_standardization_by_image_commute(kind):
    """Invariance: mean and deviation of an image do not depend on the order of its pixels."""
    before, after = (kind(when=when)(make_split(), seed=0) for when in ("before", "after"))
    torch.testing.assert_close(before.batch()[0], after.batch()[0], rtol=1e-5, atol=1e-6)


def test_before_and_after_differ_where_channels_are_standardized_apart():
    split = make_split(preprocessing=BY_CHANNEL)
    before, after = (
        ShuffledPixels(channels_together=False, when=when)(split, seed=0).batch()[0]
        for when in ("before", "after")
    )
    assert not torch.allclose(before, after)
    assert torch.equal(split.batch()[0].flatten(1).sort(1)[0], after.flatten(1).sort(1)[0])


def test_the_crop_comes_first_and_only_once():
    split = make_split()
    for when in ("before", "after"):
        for kind in (ShuffledPixels, RandomPixels, GaussianPixels):
            result = kind(when=when)(split, seed=0)
            assert result.preprocessing.crop is None
            assert tuple(result.inputs.shape) == (12, 2, 4, 6)
    assert ShuffledPixels()(split, seed=0).preprocessing.standardize == "image"
    assert ShuffledPixels(when="after")(split, seed=0).preprocessing == Preprocessing()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("preprocessing", [WHITENED, BY_CHANNEL], ids=["image", "dataset"])
def test_gaussian_pixels_have_the_moments_of_the_split(preprocessing, when):
    """Closed form: mean and variance of N draws, within 5 sigma of those of the pixels."""
    split = make_split(4000, preprocessing=preprocessing)
    if when == "after":
        pixels = split.batch()[0].double()
    else:
        pixels = split.preprocessing.cropped(split.inputs).double() / 255
    overall = GaussianPixels(when=when)(split, seed=0).inputs.double()
    assert_moments(overall.flatten(), pixels.flatten())
    by_channel = GaussianPixels(statistics="channel", when=when)(split, seed=0).inputs.double()
    for channel in range(2):
        assert_moments(by_channel[:, channel].flatten(), pixels[:, channel].flatten())


def assert_moments(draws, pixels):
    n, mean, variance = len(draws), pixels.mean(), pixels.var(correction=0)
    assert abs(draws.mean() - mean) < 5 * (variance / n).sqrt()
    assert abs(draws.var() - variance) < 5 * variance * (2 / n) ** 0.5
    standard = (draws - mean) / variance.sqrt()
    assert abs(standard.pow(3).mean()) < 5 * (6 / n) ** 0.5
    assert abs(standard.pow(4).mean() - 3) < 5 * (24 / n) ** 0.5


def test_gaussian_statistics_of_features_are_those_of_each():
    x = torch.tensor([[0.0, 10.0], [2.0, 10.0]]).repeat(20_000, 1)
    split = Split(inputs=x, targets=torch.zeros(40_000).long(), num_classes=1)
    noise = GaussianPixels(statistics="channel")(split, seed=0).inputs
    assert noise[:, 0].mean() == pytest.approx(1, abs=5 / 200)
    assert noise[:, 0].var() == pytest.approx(1, abs=5 * 2**0.5 / 200)
    assert (noise[:, 1] == 10).all()


@pytest.mark.parametrize("statistics", ["global", "channel"])
@pytest.mark.parametrize(
    ("dtype", "offset"),
    [(torch.float64, 1e8), (torch.float64, -1e10), (torch.float64, 1e3), (torch.float32, 1e5)],
)
def test_gaussian_pixels_keep_the_variance_of_numbers_far_from_zero(dtype, offset, statistics):
    """Oracle: the draws for the same numbers around zero, moved."""
    x = torch.randn(3000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (x + offset).to(dtype)
    near = x.double() - offset
    moved, still = (
        GaussianPixels(statistics=statistics)(
            Split(inputs=inputs, targets=torch.zeros(3000).long(), num_classes=1), seed=0
        ).inputs.double()
        for inputs in (x, near)
    )
    step = torch.finfo(dtype).eps * abs(offset)
    assert (moved - offset - still).abs().max() < 4 * step + 1e-7


def test_gaussian_pixels_on_ordinary_numbers_are_as_before_to_the_last_bit():
    """Oracle: the moments of one pass, which the versions before took always."""
    x = torch.rand(1000, 48, generator=torch.Generator().manual_seed(0))
    split = Split(inputs=x, targets=torch.zeros(1000).long(), num_classes=1)
    wide = x.double().reshape(1000, 1, 48)
    mean = wide.sum((0, 2)) / x.numel()
    std = (wide.square().sum((0, 2)) / x.numel() - mean.square()).sqrt()
    draws = example_normals(0, "gaussian pixels train", torch.arange(1000), (48,)).float()
    expected = draws * std.float() + mean.float()
    assert GaussianPixels()(split, seed=0).inputs.equal(expected)


def test_gaussian_pixels_are_independent_of_images_and_of_each_other():
    split = make_split(4000)
    noise = GaussianPixels()(split, seed=0).inputs.flatten(1).double()
    correlation = torch.corrcoef(noise.T) - torch.eye(48)
    assert correlation.abs().max() < 5.5 / 4000**0.5


@pytest.mark.parametrize("when", ["before", "after"])
def test_added_noise_has_its_scale(when):
    """Closed form: the difference is Gaussian with mean 0 and standard deviation `scale`."""
    split = make_split(4000)
    clean = split.batch()[0] if when == "after" else split.preprocessing.cropped(split.inputs) / 255
    noise = AddedNoise(scale=0.25, when=when)(split, seed=0).inputs - clean
    n = noise.numel()
    assert abs(noise.double().mean()) < 5 * 0.25 / n**0.5
    assert abs(noise.double().std() - 0.25) < 5 * 0.25 / (2 * n) ** 0.5


@given(seed=seeds, low=st.floats(0.01, 1), factor=st.floats(1, 10))
@quick
def test_added_noise_is_nested_in_scale(seed, low, factor):
    split = make_split(3)
    clean = split.preprocessing.cropped(split.inputs) / 255
    weak, strong = (AddedNoise(scale=s)(split, seed=seed).inputs - clean
                    for s in (low, low * factor))  # fmt: skip
    torch.testing.assert_close(factor * weak, strong, rtol=1e-4, atol=1e-5 * factor)


def test_no_noise_changes_nothing():
    split = make_split()
    result = AddedNoise(scale=0.0)(split, seed=0)
    assert not result.changed.any()
    assert torch.equal(result.batch()[0], split.batch()[0])


def test_noise_twice_adds_variances():
    split = make_split(4000)
    clean = split.preprocessing.cropped(split.inputs) / 255
    twice = Compose(corruptions=(AddedNoise(scale=0.3), AddedNoise(scale=0.4)))
    noise = (twice(split, seed=0).inputs - clean).double()
    assert noise.std() == pytest.approx(0.5, abs=5 * 0.5 / (2 * noise.numel()) ** 0.5)


def test_features_are_the_pixels_of_a_table():
    x = torch.arange(12.0).view(3, 4)
    split = Split(inputs=x, targets=torch.zeros(3).long(), num_classes=1)
    shuffled = ShuffledPixels()(split, seed=0).inputs
    assert torch.equal(shuffled - shuffled[:1], x - x[:1])
    assert torch.equal(shuffled.sort(1)[0], x)
    assert torch.equal(RandomPixels()(split, seed=0).inputs.sort(1)[0], x)


def test_a_streamed_result_can_be_sent_to_another_process():
    split = make_split()
    result = RandomPixels()(Split(inputs=split.inputs, targets=split.targets), seed=0)
    assert torch.equal(pickle.loads(pickle.dumps(result)).inputs, result.inputs)


@pytest.mark.parametrize("kind", [ShuffledPixels, RandomPixels, GaussianPixels])
def test_choices_are_checked(kind):
    with pytest.raises(ValueError, match="`when` must be one of 'before', 'after'; got 'never'"):
        kind(when="never")
    with pytest.raises(ValueError, match="`statistics` must be one of 'global', 'channel'"):
        GaussianPixels(statistics="image")
    with pytest.raises(ValueError, match="`scale` must be at least 0 and finite; got -1"):
        AddedNoise(scale=-1)
    with pytest.raises(ValueError, match="`when` must be one of"):
        AddedNoise(scale=1, when="later")


@pytest.mark.parametrize("noise", [GaussianPixels(), AddedNoise(scale=0.1)])
def test_tokens_are_moved_but_not_drowned_in_noise(noise):
    tokens = torch.arange(12).view(3, 4)
    split = Split(inputs=tokens, targets=torch.tensor([0, 1, 0]), num_classes=2)
    for moved in (ShuffledPixels()(split, seed=0), RandomPixels()(split, seed=0)):
        assert moved.tokens
        assert moved.inputs.sort().values.tolist() == tokens.tolist()
    with pytest.raises(ValueError, match="`data` holds tokens"):
        noise(split, seed=0)
