"""Property: the way of packing follows from the network, the device and what is asked."""

import pytest
import torch

from gengap.models import mlp
from gengap.training import Lane, Packing, Recipe, choose_packing
from gengap.training._fit import pack
from tests.training.cases import convolutional, make_split, perceptron

pytestmark = pytest.mark.global_rng("torch")
CPU = torch.device("cpu")


def test_small_perceptrons_share_a_program():
    packing = choose_packing(mlp((1, 8, 8), 10, hidden=(128,)), Recipe(), device=CPU)
    assert (packing.way, packing.lanes > 1) == ("lanes", True)


def test_large_and_convolutional_networks_have_their_own():
    for model in (mlp((3, 28, 28), 10), convolutional()):
        assert choose_packing(model, Recipe(), device=CPU).lanes == 1
    assert choose_packing(perceptron(), Recipe(precision="bfloat16"), device=CPU).lanes == 1


def test_the_number_of_lanes_does_not_depend_on_the_workers():
    for model in (perceptron(), convolutional()):
        ways = [choose_packing(model, Recipe(), device=CPU, workers=w) for w in (1, 2, 7)]
        assert len({way.lanes for way in ways}) == 1
        assert [way.workers for way in ways] == [1, 2, 7]


def test_what_is_asked_for_is_given():
    packing = choose_packing(convolutional(), Recipe(), device=CPU, lanes=5, workers=1)
    assert (packing.lanes, packing.workers, packing.way) == (5, 1, "lanes")


def test_lanes_of_one_size_are_packed_in_order():
    a, b = make_split(n=20), make_split(n=30)
    lanes = [Lane(split=s) for s in (a, b, a, a, b, a)]
    assert pack(lanes, Packing(2, 1, "")) == [[0, 2], [3, 5], [1, 4]]
    assert pack(lanes, Packing(1, 1, "")) == [[0], [2], [3], [5], [1], [4]]
    assert pack(lanes, Packing(9, 1, "", programs=2)) == [[0, 2], [3, 5], [1], [4]]


def test_programs_are_as_even_as_can_be():
    assert Packing(16, 1, "").sizes(33) == [11, 11, 11]
    assert Packing(16, 1, "").sizes(17) == [9, 8]
    assert Packing(16, 9, "", programs=2).sizes(5) == [3, 2]
    assert Packing(16, 9, "", programs=2).sizes(1) == [1]
