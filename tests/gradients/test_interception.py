"""Twin: what a recorder is handed. Oracle: autograd, one example at a time."""

import pytest
import torch
from torch import nn

from gengap.gradients import Recorder, intercepted
from tests.reference.per_example import gradients_one_by_one

pytestmark = pytest.mark.global_rng("torch")


class Keeper(Recorder):
    """Keeps everything it is handed and fills `.grad` as usual."""

    def __init__(self):
        self.dense, self.norms, self.uses, self.grams, self.dots = {}, {}, [], {}, {}

    def used(self, names):
        self.uses.append(names)

    def record(self, parts):
        for name, part in parts.items():
            self.dense[name], self.norms[name] = part.dense(), part.squared_norms()
            self.grams[name] = part.gram()
            self.dots[name] = part.dots(torch.ones(part.shape, dtype=torch.float64))
        return {name: part.sum() for name, part in parts.items()}


CONVOLUTIONS = [
    (nn.Conv2d(3, 4, 3), (3, 6, 7)),
    (nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (3, 6, 7)),
    (nn.Conv2d(4, 6, 3, padding="same", groups=2, bias=False), (4, 5, 5)),
    (nn.Conv2d(3, 4, (2, 4), padding="same", dilation=2), (3, 5, 6)),
    (nn.Conv2d(4, 8, 3, groups=4, padding=1, padding_mode="reflect"), (4, 5, 5)),
    (nn.Conv2d(8, 16, 3, padding=1), (8, 2, 2)),
    (nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), (2, 7)),
    (nn.Conv1d(6, 12, 5, stride=3, dilation=2), (6, 13)),
    (nn.Conv3d(2, 3, 2, stride=(1, 2, 1), padding=(0, 1, 1)), (2, 3, 4, 3)),
    (nn.Conv3d(6, 8, (1, 3, 2), dilation=(1, 1, 2)), (6, 2, 3, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS, ids=str)
def test_convolutions(layer, shape):
    agrees(layer.double(), torch.randn(5, *shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    agrees(nn.Linear(5, 4, bias=bias).double(), torch.randn(6, *shape, dtype=torch.float64))


def test_in_place_relu_in_an_mlp():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 3)).double()
    agrees(model, torch.randn(6, 5, dtype=torch.float64))


def agrees(model, x):
    """Dense gradients, norms, sums, inner products and `.grad` are those of single examples."""
    twin = gradients_one_by_one(model, x)
    keeper = Keeper()
    with intercepted(model, keeper):
        model(x).square().sum().backward()
    assert not any("forward" in vars(m) or "_conv_forward" in vars(m) for m in model.modules())
    for name, param in model.named_parameters():
        rows = twin[name].flatten(1)
        close(keeper.dense[name], twin[name])
        close(param.grad, twin[name].sum(0))
        close(keeper.norms[name], rows.square().sum(1))
        close(keeper.dots[name], rows.sum(1))
        close(keeper.grams[name], rows @ rows.T)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max()))
