"""Closed form and published values: p, n and p / n."""

import sys
import types

import pytest
import torch
from torch import nn

from gengap.data import Split
from gengap.models import num_parameters, parameters_per_example


@pytest.fixture
def no_libraries(monkeypatch):
    for library in ("torchvision", "torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, library, None)


def test_the_papers_networks_on_cifar10(no_libraries):
    table = parameters_per_example()
    assert table["parameters"].tolist() == [1_649_402, 1_649_402, 1_387_786, 1_735_178, 1_209_866]
    assert (table["examples"] == 50_000).all()
    assert table["parameters_per_example"].round(2).tolist() == [32.99, 32.99, 27.76, 34.70, 24.20]


def test_any_models_and_split(no_libraries):
    split = Split(inputs=torch.zeros(8, 3), targets=torch.zeros(8).long(), num_classes=2, name="t")
    table = parameters_per_example({"built": lambda: nn.Linear(3, 2)}, split)
    assert table.to_dict("records") == [
        {
            "model": "built",
            "data": "t",
            "parameters": 8,
            "examples": 8,
            "parameters_per_example": 1.0,
        }
    ]


def test_builders_that_cannot_be_built_without_memory(no_libraries):
    def build():
        layer = nn.Linear(3, 2)
        assert layer.weight.sum().item() is not None  # needs values: fails on the meta device
        return layer

    assert parameters_per_example({"reads": build}, 4)["parameters"].tolist() == [8]


def test_counting_takes_no_memory_and_no_draws(no_libraries):
    table = parameters_per_example({"huge": lambda: nn.Linear(10**6, 10**6, bias=False)}, 10**6)
    assert table["parameters_per_example"].tolist() == [1e6]


def test_models_and_examples_go_together():
    with pytest.raises(ValueError, match=r"`examples` must be given with `models`.*got None"):
        parameters_per_example({})
    with pytest.raises(ValueError, match=r"`examples` must be given with `models`.*got 5"):
        parameters_per_example(None, 5)
    with pytest.raises(ValueError, match=r"`examples` must be a whole number"):
        parameters_per_example({}, 0)


NAMES = ["alexnet", "vgg16", "vgg19", "resnet18", "resnet50", "resnet101", "resnet152"]


def test_imagenet_networks_come_from_torchvision(no_libraries, monkeypatch):
    library = types.ModuleType("torchvision.models")
    for size, name in enumerate(NAMES, start=1):
        setattr(library, name, lambda *, weights, size=size: nn.Linear(size, 1, bias=False))
    library.inception_v3 = lambda *, weights, aux_logits, init_weights: nn.Linear(8, 1, bias=False)
    monkeypatch.setitem(sys.modules, "torchvision.models", library)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    rows = parameters_per_example().query("data == 'ImageNet'")
    assert rows["parameters"].tolist() == list(range(1, 9))
    assert (rows["examples"] == 1_281_167).all()


def test_imagenet_networks_come_from_timm_where_it_has_them(no_libraries, monkeypatch):
    library = types.ModuleType("timm")
    library.is_model = lambda name: name != "alexnet"
    library.create_model = lambda name, *, pretrained: nn.Linear(3, 1, bias=False)
    monkeypatch.setitem(sys.modules, "timm", library)
    rows = parameters_per_example().query("data == 'ImageNet'")
    assert "AlexNet" not in set(rows["model"])
    assert rows["parameters"].tolist() == [3] * 7


@pytest.mark.parametrize("error", [RuntimeError, OSError, ImportError, AttributeError])
def test_a_broken_torchvision_counts_as_absent(no_libraries, monkeypatch, error):
    def fail(name):
        raise error("operator torchvision::nms does not exist")

    monkeypatch.setattr("importlib.import_module", fail)
    assert set(parameters_per_example()["data"]) == {"CIFAR-10"}


def test_num_parameters_counts_shared_once_and_frozen_not():
    shared = nn.utils.skip_init(nn.Linear, 3, 3, bias=False)
    frozen = nn.utils.skip_init(nn.Linear, 5, 5).requires_grad_(False)
    model = nn.Sequential(shared, nn.BatchNorm1d(3, affine=False), shared, frozen)
    assert num_parameters(model) == 9
