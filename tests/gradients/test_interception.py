"""Twin: what a recorder is handed. Oracle: autograd, one example at a time."""

import pytest
import torch
from torch import nn

from gengap.gradients import Recorder, intercepted


class Keeper(Recorder):
    def __init__(self):
        self.dense, self.norms, self.uses = {}, {}, []

    def used(self, names):
        self.uses.append(names)

    def record(self, parts):
        for name, part in parts.items():
            self.dense[name], self.norms[name] = part.dense(), part.squared_norms()
        return {name: part.sum() for name, part in parts.items()}


@pytest.mark.global_rng
def test_an_mlp_is_handed_over_and_its_grad_filled():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 3)).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    keeper = Keeper()
    with intercepted(model, keeper):
        model(x).square().sum().backward()
    assert "forward" not in vars(model[0])
    for name, param in model.named_parameters():
        recorded, param.grad = param.grad, None
        alone = []
        for row in x:
            model.zero_grad()
            model(row[None]).square().sum().backward()
            alone.append(param.grad)
        alone = torch.stack(alone)
        torch.testing.assert_close(keeper.dense[name], alone, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(recorded, alone.sum(0), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(keeper.norms[name], alone.flatten(1).square().sum(1))
