"""Twin: looking at all examples, with any loader. Oracle: a network called on all of them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

from gengap.callbacks._learning import Follower

pytestmark = pytest.mark.global_rng
N, SIZE = 22, 4


def points(n=N):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, 5, generator=generator)
    return TensorDataset(x, torch.randint(3, (n,), generator=generator))


class Batches(Dataset):
    """Gives whole batches: the last is shorter."""

    def __len__(self):
        return -(-N // SIZE)

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError
        return points()[i * SIZE : (i + 1) * SIZE]


class Lists(Dataset):
    """Gives the examples of a list of rows at once."""

    def __len__(self):
        return N

    def __getitem__(self, rows):
        return points()[list(rows)]


class Draws(torch.utils.data.Sampler):
    """A sampler of batches that does not say how large they are."""

    def __iter__(self):
        yield from (list(range(i, i + 11)) for i in (11, 0))


def prepared(loader):
    accelerate = pytest.importorskip("accelerate")
    return accelerate.Accelerator(cpu=True).prepare(loader)


LOADERS = {
    "of a size": (lambda: DataLoader(points(), batch_size=SIZE, shuffle=True), SIZE),
    "of accelerate": (lambda: prepared(DataLoader(points(), SIZE, shuffle=True)), SIZE),
    "of a batch sampler": (
        lambda: DataLoader(
            points(), batch_sampler=BatchSampler(RandomSampler(points()), SIZE, drop_last=True)
        ),
        SIZE,
    ),
    "of batches of unknown size": (lambda: DataLoader(points(), batch_sampler=Draws()), N),
    "of whole batches": (lambda: DataLoader(Batches(), batch_size=None, shuffle=True), SIZE),
    "of lists of rows": (
        lambda: DataLoader(
            Lists(), batch_size=None, sampler=BatchSampler(RandomSampler(Lists()), SIZE, False)
        ),
        SIZE,
    ),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_all_examples_are_seen_in_order_as_many_at_once_as_the_loader_gives(kind):
    make, size = LOADERS[kind]
    torch.manual_seed(0)
    net, sizes = nn.Linear(5, 3), []

    def predict(model, batch):
        sizes.append(len(batch[1]))
        return model(batch[0]), batch[1]

    follower = Follower()
    follower.look(net, make(), predict, 1)
    assert (max(sizes), sum(sizes)) == (size, N)
    x, y = points().tensors
    want = F.cross_entropy(net(x), y, reduction="none").detach()
    np.testing.assert_allclose(follower.examples["loss"], want, rtol=1e-5)


def call(model, batch):
    return model(batch[0]), batch[1]


def test_a_data_set_of_another_length_is_refused():
    net, follower = nn.Linear(5, 3), Follower()
    follower.look(net, DataLoader(points(), SIZE), call, 1)
    before = follower.examples
    for n in (N - 1, N + 1):
        with pytest.raises(ValueError, match=rf"same length at every look; got {n} .* after {N}"):
            follower.look(net, DataLoader(points(n), SIZE), call, 2)
    assert follower.examples.equals(before)
    follower.look(net, DataLoader(points(), SIZE), call, 2)
