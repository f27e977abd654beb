"""Twin: transforms of torch.func over a network with a meter on, beside the same without."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from gengap.gradients import CoherenceMeter
from tests.gradients.surroundings import Gate, Scaled

pytestmark = [
    pytest.mark.global_rng("torch"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),  # forward mode's own
]


def network():
    torch.manual_seed(0)
    layers = nn.Linear(5, 6), Scaled(), Gate(), nn.LayerNorm(6), nn.Linear(6, 3)
    return nn.Sequential(*layers).double()


def examples():
    return torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 3


def per_example(net, x, y):
    def loss(params, x, y):
        return F.cross_entropy(functional_call(net, params, (x[None],)), y[None])

    return vmap(grad(loss), (None, 0, 0))(dict(net.named_parameters()), x, y)


def forward_mode(net, x, y):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(net(forward_ad.make_dual(x, x.cos()))).tangent


TRANSFORMS = {
    "vmap of grad": per_example,
    "vmap": lambda net, x, y: vmap(lambda row: net(row[None])[0])(x),
    "jvp": lambda net, x, y: jvp(net, (x,), (x.cos(),)),
    "jacrev": lambda net, x, y: jacrev(net)(x),
    "jacfwd": lambda net, x, y: jacfwd(net)(x),
    "hessian": lambda net, x, y: hessian(lambda row: net(row).sum())(x[:1]),
    "forward mode": forward_mode,
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_give_the_same_and_are_no_batch(name):
    net, (x, y) = network(), examples()
    expected = TRANSFORMS[name](net, x, y)
    with CoherenceMeter(net) as meter:
        F.cross_entropy(net(x), y).backward()
        before = meter.read().m_coherence
        found = TRANSFORMS[name](net, x, y)
        pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other)
        F.cross_entropy(net(x), y).backward()
        assert meter.read().m_coherence == before


def test_a_backward_pass_through_a_transform_is_not_passed_over():
    net, (x, y) = network(), examples()
    with CoherenceMeter(net) as meter:
        F.cross_entropy(net(x), y).backward()
        meter.read()
        net.zero_grad()
        F.cross_entropy(vmap(lambda row: net(row[None])[0])(x), y).backward()
        found = [p.grad.clone() for p in net.parameters()]
        with pytest.raises(ValueError, match=r"after a backward pass|must use its parameter"):
            meter.read()
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    torch.testing.assert_close(found, [p.grad for p in net.parameters()])
