"""Property: a risk's weight normalization is followed as PyTorch's; oracle: the network itself."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

from gengap import Risk
from gengap.data import as_split
from gengap.symmetries import find


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("normalized", [parametrizations.weight_norm, weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_the_symmetries_of_a_risks_network_are_those_of_the_network(normalized):
    layers = [normalized(nn.Linear(3, 4)), nn.ReLU(), normalized(nn.Linear(4, 4)), nn.ReLU()]
    network, x = nn.Sequential(*layers, nn.Linear(4, 3)), torch.randn(9, 3)
    risk = Risk(network, as_split(x, torch.arange(9) % 3))
    assert find(risk.model, x).num_scales == find(network, x).num_scales == 5
