"""Twin: kernels solved in the open, one without each example; closed form: the rules."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from gengap.auditing import _kernel_twin, audit
from gengap.auditing._twin_page import twin_claims
from gengap.corruptions import RandomLabels
from gengap.data import Split, gaussian_clusters
from gengap.lab import Data, Lab
from gengap.training import Recipe

RECIPE = Recipe(epochs=3, batch_size=32, lr=0.1)


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def halves():
    split = gaussian_clusters(180, dim=20, num_classes=3, separation=4.0, seed=0)
    return split[:120], split[120:]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("store"), workers=1)


def run(halves, store, **how):
    return audit(build, *halves, recipe=RECIPE, seeds=2, levels=(0.5,), probe=0, lab=store, **how)


@pytest.fixture(scope="module")
def found(halves, store):
    return run(halves, store, kernel_twin=True)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_row_is_the_interpolant_of_the_same_labels(found, halves, level):
    train, test = halves
    (row,) = found.twin[(found.twin["level"] == level) & (found.twin["seed"] == 1)].itertuples()
    labels = RandomLabels(probability=level)(train, seed=1).targets.numpy() if level else None
    labels = train.targets.numpy() if labels is None else labels
    x, z = (half.batch()[0].flatten(1).double().numpy() for half in halves)

    def kernel(a, b):
        return np.exp(-row.bandwidth * np.square(a[:, None] - b).sum(2))

    dual = np.linalg.solve(kernel(x, x), np.eye(3)[labels])
    said = (kernel(z, x) @ dual).argmax(1)
    assert row.test_accuracy == pytest.approx((said == test.targets.numpy()).mean())
    assert row.norm == pytest.approx(np.sqrt(np.sum(dual * np.eye(3)[labels])), rel=1e-5)
    assert (row.train_accuracy, row.ridge) == (1.0, 0.0)


def left_out(x, hot, bandwidth):
    """How many interpolants of all examples but one have that one wrong, and how far off."""
    kernel = np.exp(-bandwidth * np.square(x[:, None] - x).sum(2))
    said = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        said.append(kernel[i, rest] @ np.linalg.solve(kernel[np.ix_(rest, rest)], hot[rest]))
    wrong = (np.argmax(said, 1) != hot.argmax(1)).mean()
    return wrong, np.square(said - hot).mean()


def test_the_bandwidth_errs_least_where_an_example_is_left_out(found, halves):
    train, _ = halves
    x, hot = train.batch()[0].flatten(1).double().numpy(), np.eye(3)[train.targets]
    unit = 1 / torch.pdist(torch.from_numpy(x)).square().median().item()
    best = min((0.5, 1.0, 2.0, 4.0, 8.0), key=lambda multiple: left_out(x, hot, multiple * unit))
    rows = found.twin[found.twin["level"].notna()]
    assert rows["bandwidth"].to_numpy() == pytest.approx(best * unit)
    assert best != 1.0


def test_the_order_of_the_examples_does_not_choose_the_bandwidth():
    """More than 2,000 examples of the first class come first, as from folders of images."""
    split = gaussian_clusters(4100, dim=5, num_classes=2, separation=3.0, seed=0)
    by_class = split[torch.argsort(split.targets, stable=True)]
    found, wanted = (_kernel_twin._multiple(Data.of(one, None)) for one in (by_class, split))
    assert found == pytest.approx(wanted)


def test_every_data_set_has_a_twin_beside_the_network(found):
    assert len(found.twin) == len(found.results) == 2 * 6
    for row in found.twin.itertuples():
        own = found.results[
            (found.results["data_set"] == row.data_set) & (found.results["seed"] == row.seed)
        ]
        assert own["kernel_test"].item() == row.test_accuracy
    assert {"kernel train", "kernel test", "kernel norm"} <= set(found.table)
    assert "kernel-twin" in found.report.to_html_fragment()
    names = [claim.name for claim in found.claims]
    assert "the network against its kernel twin" in names


def test_it_is_kept_and_asked_for_only(found, halves, store, tmp_path):
    again = run(halves, store, kernel_twin=True)
    pd.testing.assert_frame_equal(again.twin, found.twin)
    assert (again.save_tables(tmp_path) / "kernel-twin.csv").exists()
    without = run(halves, store)
    assert not len(without.twin)
    assert "kernel test" not in without.table
    assert "kernel_twin" not in without.specification


def test_equal_examples_with_different_labels_get_a_ridge(halves, tmp_path):
    train, test = halves
    twice = Split(
        inputs=torch.cat([train.inputs, train.inputs[:5]]),
        targets=torch.cat([train.targets, (train.targets[:5] + 1) % 3]),
        num_classes=3,
    )
    found = audit(
        build,
        twice,
        test,
        recipe=RECIPE,
        seeds=1,
        levels=(),
        probe=0,
        lab=tmp_path,
        kernel_twin=True,
    )
    by_name = found.twin.set_index("data_set")
    assert by_name.loc["true labels", "ridge"] == 1e-6
    assert by_name.loc["true labels", "train_accuracy"] == pytest.approx(120 / 125)
    assert by_name.loc["Gaussian noise", "ridge"] == 0


def test_too_little_memory_is_said_before_anything_is_trained(halves, tmp_path, monkeypatch):
    monkeypatch.setattr(_kernel_twin, "solve_bytes", lambda *size: (10**11, 10**9))
    said = r"`kernel_twin` must fit in memory.* 120 examples .* 100 GB; got 1 GB free"
    with pytest.raises(ValueError, match=said):
        run(halves, Lab(tmp_path), kernel_twin=True)
    assert not any(tmp_path.iterdir())


def test_the_rules_can_fail():
    twin = pd.DataFrame([
        {"data_set": name, "seed": seed, "train_accuracy": 1.0, "test_accuracy": 0.5, "norm": norm}
        for name, norm in (("true labels", 10.0), ("random labels", 40.0))
        for seed in (0, 1)
    ])
    table = twin.assign(variant="as given", test_accuracy=0.9, kernel_test=0.8)
    assert {claim.verdict for claim in twin_claims(table, twin)} == {"supported"}
    assert {c.verdict for c in twin_claims(table.assign(test_accuracy=0.7), twin)} == {
        "supported",
        "not supported",
    }
    bad = twin.assign(train_accuracy=0.5, norm=10.0)
    found = [claim.verdict for claim in twin_claims(table, bad)]
    assert found == ["not supported", "supported", "not supported"]
