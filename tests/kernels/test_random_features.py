"""Twin: one patch at a time; closed form: the kernel that Fourier features estimate."""

import pytest
import torch

from gengap.kernels import RandomConvolutions, RandomFourier
from gengap.kernels._random_convolutions import BLOCK


def draw(n=20, channels=3, side=9):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(2)).double()


def written_out(bank, images):
    """All features, patch by patch, in plain loops."""
    how = bank.how
    places = images.shape[-1] - how.patch + 1
    halves = 2 if how.encoding == "soft_threshold" else 1
    found = torch.zeros(len(images), len(bank.filters), halves, how.grid, how.grid).double()
    for n, image in enumerate(images):
        for i in range(places):
            for j in range(places):
                patch = image[:, i : i + how.patch, j : j + how.patch].flatten()
                patch = patch - patch.mean()
                patch = patch / (patch.var(correction=0) + how.contrast).sqrt()
                white = bank.whitener @ (patch - bank.mean)
                if halves == 2:
                    z = bank.filters @ white
                    each = [(z - how.threshold).clamp(min=0), (-z - how.threshold).clamp(min=0)]
                else:
                    z = (bank.filters - white).norm(dim=1)
                    each = [(z.mean() - z).clamp(min=0)]
                found[n, :, :, i * how.grid // places, j * how.grid // places] += torch.stack(
                    each, 1
                )
    return found.flatten(1)


@pytest.mark.parametrize("encoding", ["soft_threshold", "triangle"])
def test_features_are_those_of_every_patch(encoding):
    images = draw(side=7)
    how = RandomConvolutions(num_filters=30, patch=4, encoding=encoding, threshold=0.3)
    bank = how.fit(images)
    found = bank(images[:3])
    assert (
        found.shape == (3, bank.num_features) == (3, 30 * 4 * (1 if encoding == "triangle" else 2))
    )
    torch.testing.assert_close(found, written_out(bank, images[:3]), rtol=1e-9, atol=1e-9)


def test_whitened_patches_have_variance_one_where_they_vary():
    images = draw(200, 1, 8)
    bank = RandomConvolutions(num_filters=5, patch=2, whitening=1e-9, contrast=1e-9).fit(images)
    patches = torch.nn.functional.unfold(images, 2).movedim(1, 0).flatten(1)
    white = bank.whitener @ (bank.how.normalized(patches, dim=0) - bank.mean[:, None])
    values = torch.linalg.eigvalsh(white @ white.T / white.shape[1])
    torch.testing.assert_close(values[1:], torch.ones(3).double(), rtol=0.05, atol=0)
    assert values[0] < 1e-6  # the mean that was taken out
    torch.testing.assert_close(bank.filters.norm(dim=1), torch.ones(5).double())


def test_a_smaller_bank_is_the_beginning_of_a_larger_one():
    images = draw(side=7)
    small, large = (RandomConvolutions(num_filters=n).fit(images) for n in (30, BLOCK + 40))
    torch.testing.assert_close(large.filters[:30], small.filters)
    widths = [block.shape[1] for block in large.blocks(images[:2])]
    assert widths == [8 * BLOCK, 8 * 40]
    torch.testing.assert_close(large(images[:2])[:, : 8 * 30], small(images[:2]))


def test_features_keep_the_dtype_of_the_training_images():
    images = draw(side=7)
    bank = RandomConvolutions(num_filters=4, patch=3).fit(images.float())
    assert bank(images).dtype == torch.float32
    torch.testing.assert_close(bank(images), bank(images.float()))


def test_fourier_features_estimate_the_gaussian_kernel():
    x = draw(12, 1, 3)
    fourier = RandomFourier(num_features=40_000, bandwidth=0.3)
    features = fourier(x)
    exact = torch.exp(-0.3 * torch.cdist(x.flatten(1), x.flatten(1)) ** 2)
    error = (features @ features.T - exact).abs().max()
    assert error < 5 / 40_000**0.5  # a standard error of at most 1 / sqrt(p) a pair
    first = RandomFourier(num_features=700, bandwidth=0.3)(x)
    torch.testing.assert_close(first * (700 / 40_000) ** 0.5, features[:, :700])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: RandomConvolutions(patch=0), "`patch` must be a whole number of at least 1"),
        (lambda: RandomConvolutions(encoding="max"), "`encoding` must be one of"),
        (lambda: RandomConvolutions(patch=9).fit(draw()), "`images` must be at least 10 pixels"),
        (lambda: RandomFourier(bandwidth=0.0), "`bandwidth` must be positive and finite"),
    ],
)
def test_wrong_settings_are_told(made, said):
    with pytest.raises(ValueError, match=said):
        made()
