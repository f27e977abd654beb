"""Property: networks of torchvision and timm take the data's shape and classes."""

import importlib
import sys

import pytest
import torch

from gengap._streams import own_draws
from gengap.data import Split
from gengap.lab import Model
from gengap.models import is_outside, outside


def images(channels):
    return Split(
        inputs=torch.zeros(4, channels, 32, 32), targets=torch.arange(4) % 2, num_classes=2
    )


def there(library):
    """Return a library that works beside this PyTorch."""
    try:
        return importlib.import_module(library)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{library}: {error}")


@pytest.mark.parametrize(("library", "channels"), [("torchvision", 3), ("timm", 1)])
def test_a_named_network_fits_the_data(library, channels):
    there(library)
    model = Model.named(f"{library}:resnet18")
    with own_draws(0):
        network = model.builder(images(channels))().eval()
    assert network(images(channels).inputs).shape == (4, 2)
    assert model.spec == {"name": f"{library}:resnet18", "options": {}}


def test_inception_gives_one_output_while_training():
    torchvision = there("torchvision")
    with own_draws(0):
        network = outside("torchvision:inception_v3", (3, 299, 299), 5, init_weights=False)
    assert isinstance(network, torchvision.models.Inception3)
    assert network.AuxLogits is None and network.fc.out_features == 5


def test_other_names_and_channels_are_refused():
    there("torchvision")
    with pytest.raises(ValueError, match="a network that torchvision knows; got 'resnet19'"):
        outside("torchvision:resnet19", (3, 32, 32), 2)
    with pytest.raises(ValueError, match="must be given images of three channels; got 1"):
        outside("torchvision:resnet18", (1, 32, 32), 2)


def test_weights_are_loaded_as_plain_tensors_for_their_own_classes(monkeypatch):
    torchvision = there("torchvision")
    with own_draws(1):
        trained = torchvision.models.resnet18().state_dict()
    asked = {}

    def fetched(url, **options):
        asked.update(options)
        return trained

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetched)
    with own_draws(0):
        network = outside("torchvision:resnet18", (3, 64, 64), 1000, weights="DEFAULT")
    assert torch.equal(network.fc.weight, trained["fc.weight"])
    assert asked["weights_only"] and asked["check_hash"]
    with pytest.raises(ValueError, match="'DEFAULT' must be given data of their 1000 classes; got"):
        outside("torchvision:resnet18", (3, 64, 64), 2, weights="DEFAULT")
    with pytest.raises(ValueError, match="must be one of IMAGENET1K_V1, DEFAULT; got 'V9'"):
        outside("torchvision:resnet18", (3, 64, 64), 1000, weights="V9")


def test_a_library_that_does_not_load_is_named(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("gengap.models._outside.importlib.import_module", broken)
    with pytest.raises(ImportError, match=r"`torchvision` must be importable beside PyTorch .*nms"):
        outside("torchvision:resnet18", (3, 32, 32), 2)


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"'timm'; install it with: pip install 'gengap\[vision"):
        outside("timm:resnet18", (3, 32, 32), 2)


@pytest.mark.parametrize(
    ("name", "expected"), [("timm:resnet18", True), ("timm", False), ("mine:network", False)]
)
def test_names(name, expected):
    assert is_outside(name) is expected
