"""Twin: two gloo processes that train together against one process, and what they refuse."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gengap.data import Augmentation, Ranks
from gengap.optim import DARC1
from gengap.training import Lane, Recipe, fit
from gengap.training._dropout import SeededDropout
from gengap.training._rank_checks import check_ranks
from tests.training.cases import make_split, normed, tanh_network
from tests.training.distributed_cases import RECIPE, plain, runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-W", "error", "-m", "tests.training.distributed_cases", str(folder)]
    ranks = [
        subprocess.Popen([*command, str(rank)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, complaints = rank.communicate(timeout=300)
            assert rank.returncode == 0, complaints
    finally:
        for rank in ranks:
            rank.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one():
    return {name: plain(run()) for name, run in runs()}


NAMES = [name for name, _ in runs()]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_as_one(one, two, name):
    torch.testing.assert_close(
        two[0][name]["weights"], one[name]["weights"], rtol=1e-5, atol=1e-5 * scale(one[name])
    )
    assert len(two[0][name]["rows"]) == len(one[name]["rows"])
    for row, expected in zip(two[0][name]["rows"], one[name]["rows"], strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)
    assert two[0][name]["status"] == one[name]["status"]


@pytest.mark.parametrize("name", NAMES)
def test_every_rank_returns_the_same(two, name):
    assert_same(two[1][name], two[0][name])


def assert_same(found, expected):
    if isinstance(expected, dict | list):
        assert len(found) == len(expected)
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert_same(found[key], expected[key])
    elif isinstance(expected, str):
        assert found == expected
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_a_hundred_steps_are_compared(one):
    assert one[NAMES[0]]["rows"][-1]["step"] == 100


@pytest.mark.parametrize("name", [NAMES[0], "batch norm, augmentation"])
@pytest.mark.parametrize("probe", ["coherence", "examples"])
def test_probes_measure_across_ranks(one, two, name, probe):
    expected = one[name][probe]
    assert expected and set(two[0][name][probe]) == set(expected)
    for column, values in expected.items():
        found = two[0][name][probe][column]
        if column in ("layer", "group"):
            assert found == values
            continue
        found, values = (torch.as_tensor(v, dtype=torch.float64) for v in (found, values))
        torch.testing.assert_close(found, values, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_ranks_read_a_streamed_split_without_overlap(two):
    reads = two[0]["streamed"][0] + two[1]["streamed"][0]
    reads[:2] -= 4  # both ranks try the network on two examples, twice
    assert (reads == 3).all()  # evaluated, trained on, evaluated
    expected = plain(fit(tanh_network, make_split(n=41), recipe=replace(RECIPE, epochs=1)))
    torch.testing.assert_close(two[0]["streamed"][1]["weights"], expected["weights"])


def test_a_checkpoint_of_rank_0_goes_on_on_every_rank(two):
    (through, again), (_, other) = (rank["resumed"] for rank in two)
    assert torch.equal(through, again) and torch.equal(again, other)


@pytest.mark.global_rng("torch")
def test_a_given_network_starts_from_rank_0(two):
    assert torch.equal(two[0]["given"]["weights"], two[1]["given"]["weights"])
    first = fit(network(two[0]["given at rank 0"]), make_split(), recipe=replace(RECIPE, epochs=1))
    torch.testing.assert_close(two[1]["given"]["weights"], plain(first)["weights"])


def network(state):
    found = tanh_network()
    found.load_state_dict(state)
    return found


def scale(run):
    return float(run["weights"].square().mean().sqrt())


def test_ranks_that_differ_are_refused(two):
    for name, first, second in zip(
        ("seed", "split", "recipe"), two[0]["refused"], two[1]["refused"], strict=True
    ):
        assert first.startswith(f"`{name}` must be the same on every rank; rank 0 of 2 got")
        assert second.startswith(f"`{name}` must be the same on every rank; rank 1 of 2 got")


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lanes": 2}, "`lanes` must be one where 2 processes train together; got 2"),
        ({"recipe": Recipe(batch_size=1)}, "`batch_size` must be at least the number of ranks"),
        (
            {"recipe": Recipe(batch_size=13), "model": normed()},
            "the last batch, which BatchNorm .* take together; got 13 for 40 examples",
        ),
        ({"recipe": Recipe(regularizers=(DARC1(strength=0.1),))}, "`regularizers` must be empty"),
    ],
)
def test_what_cannot_be_shared_is_refused(given, message):
    given = {"lanes": 1, "recipe": Recipe(batch_size=12), "model": tanh_network()} | given
    lanes = [Lane(split=make_split(n=40))] * given["lanes"]
    with pytest.raises(ValueError, match=message):
        check_ranks(given["model"], lanes, given["recipe"], Ranks(world=2))


@pytest.mark.parametrize(("n", "world"), [(0, 2), (1, 3), (7, 3), (12, 4)])
def test_parts_cover_everything_once(n, world):
    parts = [Ranks(rank=rank, world=world).part(n) for rank in range(world)]
    assert torch.equal(torch.cat([part.of(torch.arange(n)) for part in parts]), torch.arange(n))
    assert max(part.size for part in parts) - min(part.size for part in parts) <= 1


def test_parts_of_a_batch_are_changed_as_in_the_whole():
    images = torch.rand(7, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    change = Augmentation(flip=True, rotation=20.0, padding=2, random_crop=True)

    def changed(raw, **part):
        return change(raw, crop=(6, 6), generator=torch.Generator().manual_seed(1), **part)

    parts = [Ranks(rank=rank, world=3).part(7) for rank in range(3)]
    pieces = [changed(part.of(images), part=part) for part in parts]
    torch.testing.assert_close(torch.cat(pieces), changed(images))


@pytest.mark.parametrize("shape", [(7, 4), (21, 4), (7, 3, 2, 2)])
def test_parts_of_a_batch_are_dropped_as_in_the_whole(shape):
    layer = SeededDropout(0.5, channels=len(shape) > 2)

    def mask(rows, part):
        layer.part = part
        return layer.draw(torch.Size((rows, *shape[1:])), torch.Generator().manual_seed(1))

    parts = [Ranks(rank=rank, world=3).part(7) for rank in range(3)]
    times = shape[0] // 7
    pieces = [mask(times * part.size, part) for part in parts]
    assert torch.equal(torch.cat(pieces), mask(shape[0], None))
