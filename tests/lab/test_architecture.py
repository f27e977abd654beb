"""Property: which networks count as one, and which do not.

Oracle: networks known to compute differently, or alike; another process with other hash seeds.
"""

import argparse
import collections
import enum
import functools
import math
import operator
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

import pytest
import torch
from torch import nn

import gengap
from gengap.lab import Model
from gengap.lab._architecture import _Teller, architecture
from gengap.lab._weights_text import _patterns, weights_text
from gengap.training import build_seeded


def of(build):
    return Model.of(build, name="net").spec["architecture"]


class Net(nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.layer(x)


@dataclass(frozen=True)
class Settings:
    width: int = 3


class Options:
    def __init__(self, width):
        self.width = width


class Slotted:
    __slots__ = ("width",)

    def __init__(self, width):
        self.width = width


def encoder(**options):
    given = {"d_model": 8, "nhead": 1, "dim_feedforward": 16} | options
    return nn.TransformerEncoderLayer(**given)


def with_weights(change):
    net = Net()
    with torch.no_grad():
        change(net)
    return net


def tied(together):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].load_state_dict(net[0].state_dict())
    if together:
        net[1].weight = net[0].weight
    return net


def raised(power):
    class Inner(Net):
        def forward(self, x):
            return self.layer(x**power)

    return Inner()


def by_default(power):
    class Inner(Net):
        def forward(self, x, power=power):
            return self.layer(x**power)

    return Inner()


def in_body(power):
    class Inner(Net):
        exponent = power

    return Inner()


def by_property(power):
    class Inner(Net):
        @functools.cached_property
        def exponent(self):
            return power

    return Inner()


def slope(value, base=enum.Enum):
    return base("Slope", {"STEEP": value}).STEEP


def either(how):
    if how == "squared":

        class Inner(Net):
            @torch.no_grad()
            def forward(self, x):
                return self.layer(x**2)

    elif how == "cubed":

        class Inner(Net):
            @torch.no_grad()
            def forward(self, x):
                return self.layer(x**3)

    else:

        class Inner(Net):
            @staticmethod
            def forward(x):
                return x

    return Inner()


def hooked(hook):
    net = Net()
    net.layer.register_forward_hook(hook)
    return net


def without_source(body):
    names = {"Net": Net, "__name__": "made_on_the_way"}
    exec(f"class Inner(Net):\n    def forward(self, x):\n        return {body}", names)
    return names["Inner"]()


def doubled(x):
    return 2 * x


def negated(x):
    return -x


# fmt: off
LINE = {"plus": lambda x: x + x, "times": lambda x: x * x}
# fmt: on

UNLIKE = {
    "a number": (lambda: Net(scale=1.0), lambda: Net(scale=10.0)),
    "a text": (lambda: Net(how="max"), lambda: Net(how="mean")),
    "a flag": (lambda: Net(skip=True), lambda: Net(skip=None)),
    "nested": (lambda: Net(sizes=({"a": [1, 2]},)), lambda: Net(sizes=({"a": [1, 3]},))),
    "a set": (lambda: Net(skip={1, 2}), lambda: Net(skip={1, 3})),
    "a set of tuples": (lambda: Net(skip={(0, 1)}), lambda: Net(skip={(0, 2)})),
    "a set of sets": (
        lambda: Net(skip={frozenset({1})}),
        lambda: Net(skip={frozenset({2})}),
    ),
    "a set of functions": (lambda: Net(acts={torch.relu}), lambda: Net(acts={torch.tanh})),
    "a deque": (lambda: Net(at=collections.deque([1])), lambda: Net(at=collections.deque([2]))),
    "a decimal": (lambda: Net(by=Decimal("0.1")), lambda: Net(by=Decimal("0.9"))),
    "bytes": (lambda: Net(code=bytearray(b"a")), lambda: Net(code=bytearray(b"b"))),
    "an enumeration": (lambda: Net(by=slope(0.1)), lambda: Net(by=slope(0.9))),
    "one of texts": (
        lambda: Net(by=slope("max", enum.StrEnum)),
        lambda: Net(by=slope("mean", enum.StrEnum)),
    ),
    "a getter": (
        lambda: Net(act=operator.methodcaller("relu")),
        lambda: Net(act=operator.methodcaller("tanh")),
    ),
    "dtype": (lambda: Net(kind=torch.float32), lambda: Net(kind=torch.float64)),
    "function": (lambda: Net(act=torch.relu), lambda: Net(act=torch.tanh)),
    "own function": (lambda: Net(act=doubled), lambda: Net(act=negated)),
    "lambdas of one line": (lambda: Net(act=LINE["plus"]), lambda: Net(act=LINE["times"])),
    "partial": (
        lambda: Net(act=functools.partial(torch.clamp, min=0)),
        lambda: Net(act=functools.partial(torch.clamp, min=1)),
    ),
    "dataclass": (lambda: Net(own=Settings()), lambda: Net(own=Settings(4))),
    "own object": (lambda: Net(own=Options(3)), lambda: Net(own=Options(4))),
    "own slots": (lambda: Net(own=Slotted(3)), lambda: Net(own=Slotted(4))),
    "namespace": (
        lambda: Net(own=argparse.Namespace(width=3)),
        lambda: Net(own=argparse.Namespace(width=4)),
    ),
    "distribution": (
        lambda: Net(prior=torch.distributions.Normal(0.0, 1.0)),
        lambda: Net(prior=torch.distributions.Normal(0.0, 2.0)),
    ),
    "tensor": (lambda: Net(mask=[torch.ones(2)]), lambda: Net(mask=[torch.zeros(2)])),
    "array": (lambda: Net(a=torch.ones(2).numpy()), lambda: Net(a=torch.zeros(2).numpy())),
    "heads": (encoder, lambda: encoder(nhead=4)),
    "activation": (encoder, lambda: encoder(activation="gelu")),
    "norm first": (encoder, lambda: encoder(norm_first=True)),
    "attention": (lambda: nn.MultiheadAttention(8, 1), lambda: nn.MultiheadAttention(8, 4)),
    "module": (lambda: nn.Sequential(nn.ReLU()), lambda: nn.Sequential(nn.Tanh())),
    "width": (lambda: nn.Linear(2, 3), lambda: nn.Linear(3, 2)),
    "weights": (Net, lambda: with_weights(lambda net: net.layer.weight.mul_(10))),
    "bias": (Net, lambda: with_weights(lambda net: net.layer.bias.zero_())),
    "frozen": (Net, lambda: with_weights(lambda net: net.layer.requires_grad_(False))),
    "tied": (lambda: tied(True), lambda: tied(False)),
    "buffer": (
        lambda: with_weights(lambda net: net.register_buffer("b", torch.arange(3), False)),
        lambda: with_weights(lambda net: net.register_buffer("b", torch.ones(3).long(), False)),
    ),
    "enclosed value": (lambda: raised(1), lambda: raised(3)),
    "default value": (lambda: by_default(1), lambda: by_default(3)),
    "classes of one name": (lambda: either("squared"), lambda: either("cubed")),
    "static methods of one name": (lambda: either("cubed"), lambda: either("not")),
    "value in the body": (lambda: in_body(1), lambda: in_body(3)),
    "list in the body": (lambda: in_body([1]), lambda: in_body([3])),
    "tensor in the body": (lambda: in_body(torch.ones(2)), lambda: in_body(torch.zeros(2))),
    "module in the body": (lambda: in_body(nn.ReLU()), lambda: in_body(nn.Tanh())),
    "object in the body": (lambda: in_body(Options(1)), lambda: in_body(Options(3))),
    "value of a property": (lambda: by_property(1), lambda: by_property(3)),
    "hook": (lambda: hooked(lambda m, x, y: y), lambda: hooked(lambda m, x, y: 2 * y)),
    "traced": (
        lambda: torch.fx.symbolic_trace(raised(1)),
        lambda: torch.fx.symbolic_trace(raised(3)),
    ),
    "no source": (lambda: without_source("x"), lambda: without_source("x * 2")),
}


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("what", UNLIKE)
def test_networks_that_differ_have_other_identities(what):
    first, second = (of(build) for build in UNLIKE[what])
    assert first != second
    assert [of(build) for build in UNLIKE[what]] == [first, second]


ALIKE = {
    "objects": (lambda: Net(own=object()), lambda: Net(own=object())),
    "devices": (lambda: Net(on="cuda:0"), lambda: Net(on="cpu")),
    "devices of PyTorch": (
        lambda: Net(on=torch.device("cuda")),
        lambda: Net(on=torch.device("cpu")),
    ),
    "mode": (Net, lambda: Net().eval()),
    "last bits": (
        lambda: nn.Linear(200, 100),
        lambda: _shaken(nn.Linear(200, 100), 2e-7),
    ),
}


def _shaken(net, by):
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1 + by * torch.randn(p.shape, generator=noise))
    return net


@pytest.mark.global_rng("torch")
@pytest.mark.parametrize("what", ALIKE)
def test_networks_that_are_alike_have_one_identity(what):
    first, second = (of(build) for build in ALIKE[what])
    assert first == second


class Counted(Net):
    """Keeps a list of all that were made, as a register does."""

    made: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.made.append(len(self.made))


def test_a_register_in_a_class_does_not_change_what_a_network_is():
    assert of(Counted) == of(Counted)


def test_a_network_that_holds_itself_has_an_identity():
    def build():
        net = Net()
        net.parts = [net]
        return net

    assert of(build) == of(build) != of(Net)


def test_an_edited_base_class_makes_another_network(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, act in (("one", "relu"), ("two", "tanh")):
        (tmp_path / f"lab_base_{name}.py").write_text(
            "import torch\nfrom torch import nn\n\n\nclass Base(nn.Module):\n"
            f"    def forward(self, x):\n        return torch.{act}(x)\n\n\n"
            "class Net(Base):\n    pass\n"
        )
        found.append(of(__import__(f"lab_base_{name}").Net))
    assert found[0] != found[1]


def test_an_edit_of_the_second_class_of_a_name_makes_another_network(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, act in (("one", "relu"), ("two", "tanh"), ("three", "relu")):
        (tmp_path / f"lab_twice_{name}.py").write_text(
            "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
            "    def forward(self, x):\n        return x\n\n\nclass Net(nn.Module):\n"
            f"    def forward(self, x):\n        return torch.{act}(x)\n"
        )
        found.append(of(__import__(f"lab_twice_{name}").Net))
    assert found[0] == found[2] != found[1]


def test_a_file_named_like_one_of_pythons_is_the_users(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for value in (1, 2):
        (tmp_path / "antigravity.py").write_text(
            "from torch import nn\n\n\nclass Net(nn.Module):\n"
            f"    def forward(self, x):\n        return x * {value} # {'.' * value}\n"
        )
        monkeypatch.delitem(sys.modules, "antigravity", raising=False)
        found.append(of(__import__("antigravity").Net))
    monkeypatch.delitem(sys.modules, "antigravity")
    assert found[0] != found[1]


SCRIPT = """
    import functools, os, torch
    from torch import nn
    from gengap.lab import Model

    class Holder:
        def __init__(self):
            self.names, self.lock = {("c", 1), "a", frozenset("bd")}, object()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.kept = nn.Linear(4, 4), {"x", "y", "z", 1, 2.5}
            self.act, self.fn = functools.partial(torch.clamp, min=0), lambda x: x in {"p", "q"}
            self.own, self.self = Holder(), self
            self.rnn, self.device = nn.LSTM(4, 4), torch.device("cpu")
            self.layer.register_forward_hook(self.look)
            self.norm = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))

        def look(self, module, x, y):
            return y

        def forward(self, x):
            return super().forward(x) if x in {"k", "l", "m"} else x

    print(Model.of(Net).spec["architecture"])
"""


@pytest.mark.parametrize("as_file", [True, False])
def test_another_process_finds_the_same(as_file, tmp_path):
    found = []
    for seed in ("1", "2"):
        file = tmp_path / seed / "script.py"
        file.parent.mkdir()
        file.write_text(textwrap.dedent(SCRIPT))
        what = [str(file)] if as_file else ["-c", file.read_text()]
        found.append(
            subprocess.run(
                [sys.executable, *what],
                env=os.environ | {"PYTHONHASHSEED": seed},
                capture_output=True, text=True, check=True,
            ).stdout
        )  # fmt: skip
    assert len(set(found)) == 1 and len(found[0].strip()) == 20


def test_the_networks_of_the_library_are_told_by_their_making():
    def built(**options):
        return of(lambda: gengap.models.mlp((4,), 3, **options))

    assert built(hidden=(8,)) == built(hidden=(8,)) != built(hidden=(9,))
    assert built(hidden=(8,)) != built(hidden=(8,), dropout=0.5)


def test_round_weights_do_not_lie_on_the_edge_of_a_cell():
    for value in (0.0, 1.0, 0.5, 0.125, 1e-3, -0.0125, 2.0):
        x = torch.full((1000,), value, dtype=torch.float64)
        for factor in (1 - 1e-13, 1 + 1e-13):
            assert weights_text(x * factor) == weights_text(x)


@pytest.mark.parametrize("n", [1, 7, (1 << 20) + 5])
def test_weights_count_by_size_place_and_what_is_not_finite(n):
    x = torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    odd = x.clone()
    odd[-1] = math.nan
    texts = [x, -x, 1.01 * x, x.float(), odd, odd.nan_to_num(math.inf), x.reshape(1, -1)]
    texts += [x.flip(0)] if n > 1 else []
    assert len({weights_text(one) for one in texts}) == len(texts)
    assert weights_text(x * (1 + 1e-9)) == weights_text(x)
    for edge in (1e300, 1e-300, 5e-324):
        assert weights_text(torch.full((n,), edge, dtype=torch.float64))


def test_tensors_that_cannot_be_read_count_by_shape():
    assert weights_text(torch.ones(2, device="meta")) == "torch.float32 (2,) False"
    sparse = torch.eye(3).to_sparse()
    assert weights_text(sparse) == weights_text(torch.eye(3))
    assert weights_text(torch.tensor([1j])) != weights_text(torch.tensor([2j]))
    assert weights_text(torch.zeros(0)) == "torch.float32 (0,) False 0 0"


def test_weights_count_alike_whatever_the_default_dtype():
    before = weights_text(torch.arange(9.0))
    _patterns.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert weights_text(torch.arange(9, dtype=torch.float32)) == before
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.global_rng("torch")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
def test_a_compiled_module_counts_without_its_address():
    kept = [torch.compile(Net()) for _ in range(2)]
    texts = [_Teller().text(net) for net in kept]
    assert "_torchdynamo" not in texts[0]
    assert of(lambda: torch.compile(Net())) == of(lambda: torch.compile(Net()))


@pytest.mark.global_rng("torch")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_scripted_module_has_an_identity_though_it_is_not_trained():
    script = torch.jit.script(nn.Linear(2, 3))
    assert architecture(script) == architecture(torch.jit.script(script)) != architecture(Net())


def test_the_identity_does_not_touch_the_network():
    net = build_seeded(Net, 0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    architecture(net)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
