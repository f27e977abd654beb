"""Property: what is measured of complete trials is computed once and kept; oracle: plain calls."""

import json
import math

import pytest
import torch

from gengap._errors import StoreError
from gengap.lab import Measurement
from tests.lab.sweep import lab, sweep

TRIALS = sweep(2, seeds=(0,))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    found = lab(tmp_path_factory.mktemp("store"))
    found.run(TRIALS[:3])
    return found


def norms(lab, trials, *, power=2.0, log=None):
    """Measurements of the norms of the weights; `log` hears of every computation."""

    def of(trial):
        def compute():
            if log is not None:
                log.append(trial.id)
            weights = torch.cat([p.detach().flatten() for p in lab.model(trial).parameters()])
            return {"norm": float(weights.norm(power)), "never": math.nan, "path": [1.0, math.inf]}

        return Measurement(trial=trial, name="norm", options={"power": power}, compute=compute)

    return [of(trial) for trial in trials]


def test_values_are_those_of_a_plain_call_and_are_computed_once(store):
    log, heard = [], []
    found = store.measure(norms(store, TRIALS, log=log), progress=heard.append)
    for trial, values in zip(TRIALS[:3], found[:3], strict=True):
        weights = torch.cat([p.detach().flatten() for p in store.model(trial).parameters()])
        assert values == {"norm": float(weights.norm()), "never": None, "path": [1.0, None]}
    assert found[3] is None  # it has not been run
    assert sorted(log) == sorted(trial.id for trial in TRIALS[:3])
    assert len(heard) == 3
    assert store.measure(norms(store, TRIALS, log=log)) == found
    assert len(log) == 3


def test_other_options_are_another_measurement_and_nothing_is_computed_unasked(store):
    asked = norms(store, TRIALS[:1], power=1.0)
    assert store.measure(asked, compute=False) == [None]
    (one,) = store.measure(asked)
    (two,) = store.measure(norms(store, TRIALS[:1]))
    assert one["norm"] > two["norm"]
    assert store.measure(asked, compute=False) == [one]


def test_processes_give_what_one_gives(store):
    many = lab(store.store.files.root, workers=2)
    heard = []
    asked = norms(many, TRIALS[:3], power=3.0)
    found = many.measure(asked, progress=heard.append)
    assert [one["norm"] for one in found] == [one.compute()["norm"] for one in asked]
    assert len(heard) == 3


def test_what_needs_no_trial_is_computed_once_and_kept_apart(tmp_path):
    log = []

    def compute():
        log.append(1)
        return {"root": 3.0}

    asked = Measurement(name="root", options={"of": 9}, compute=compute)
    empty = lab(tmp_path / "store")
    assert empty.measure([asked], compute=False) == [None]
    assert empty.measure([asked, asked]) == [{"root": 3.0}] * 2
    assert empty.measure([asked]) == [{"root": 3.0}]
    assert log == [1]
    assert asked.file.startswith("measurements/root-")
    assert empty.store.trial_ids() == []


def test_a_file_that_was_edited_is_named(store):
    (asked,) = norms(store, TRIALS[:1], power=4.0)
    store.store.files.write_json(asked.file, {"values": 3})
    with pytest.raises(StoreError, match=rf"{asked.file}.* must hold the values"):
        store.measure([asked])
    store.store.files.remove(asked.file)
    store.measure([asked])
    kept = json.loads(store.store.files.read(asked.file))
    assert kept["options"] == {"power": 4.0}
