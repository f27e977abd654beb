"""When an example is right, where outputs are numbers and where they are not."""

import math

import pytest
import torch
from hypothesis import given, strategies as st

from gengap import Risk
from gengap._right import is_right
from gengap.curvature import line
from gengap.data import as_split

value = st.floats(-9, 9) | st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.lists(value, min_size=2, max_size=4), st.integers(0, 3))
def test_the_rule_in_words(outputs, label):
    label %= len(outputs)
    largest = max(outputs, key=lambda v: (not math.isnan(v), v))
    numbers = not any(math.isnan(v) for v in outputs) and math.isfinite(largest)
    expected = numbers and outputs.index(largest) == label
    found = is_right(torch.tensor([outputs], dtype=torch.float64), torch.tensor([label]))
    assert found.tolist() == [expected]


@pytest.mark.global_rng("torch")
def test_no_example_is_right_where_a_network_gives_no_numbers():
    """Far along a line the first layer overflows, and its outputs cancel to NaN."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    for p in net.parameters():
        torch.nn.init.ones_(p)
    end = {name: -p.detach() for name, p in net.named_parameters()}
    end["1.weight"] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    risk = Risk(net, as_split(torch.ones(4, 2), torch.tensor([0, 0, 1, 1])))
    found = line(risk, None, end, alphas=[0.0, 1e38])
    assert found.losses["train"].isnan().tolist() == [False, True]
    assert found.accuracies["train"].tolist() == [0.5, 0.0]
