"""Twin: the audit's bounds are those of its networks; its sentences follow from made-up rows."""

import math

import pandas as pd
import pytest
from torch import nn

import gengap
from gengap.auditing import audit
from gengap.auditing._bounds import COLUMNS, bound_claims
from gengap.capacity import capacity_bounds
from gengap.data import gaussian_clusters
from gengap.lab import Lab
from gengap.training import Recipe


def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


def test_bounds_are_those_of_the_networks(tmp_path):
    split = gaussian_clusters(90, dim=8, num_classes=3, separation=6.0, seed=0)
    recipe = Recipe(epochs=4, batch_size=16, lr=0.1)
    lab = Lab(tmp_path / "store", workers=1)
    found = audit(
        build, split[:60], split[60:], recipe=recipe, seeds=2, levels=(), probe=0, lab=lab
    )
    assert set(found.bounds["data_set"]) == {"true labels", "random labels"}
    run = gengap.fit(build, split[:60], recipe=recipe, seed=1)
    for bound in capacity_bounds(run.model, split[:60]):
        rows = found.bounds[(found.bounds["bound"] == bound.name) & (found.bounds["seed"] == 1)]
        own = rows[rows["data_set"] == "true labels"].iloc[0]
        assert own["value"] == pytest.approx(bound.value, rel=1e-3) and own["vacuous"]
    said = {claim.name: claim for claim in found.claims}
    assert said["norm bounds are vacuous"].verdict == "supported"
    assert "vacuous" in said["norm bounds are vacuous"].sentence
    assert "there are 60 examples" in said["the VC bound is vacuous"].sentence
    folder = found.save_tables(tmp_path / "tables")
    assert len(pd.read_csv(folder / "bounds.csv")) == len(found.bounds)


def rows(*values):
    table = [
        {"data_set": "true labels", "seed": seed, "bound": name, "value": value,
         "complexity": 10.0, "vacuous": value >= 1, "note": "at most 10; there are 60"}
        for name, value, seed in values
    ]  # fmt: skip
    return pd.DataFrame(table, columns=list(COLUMNS))


def test_sentences_follow_the_rows():
    low = bound_claims(rows(("path", 0.5, 0), ("path", 0.6, 1), ("VC", 0.7, 0), ("VC", 0.7, 1)), "")
    assert [claim.verdict for claim in low] == ["not supported", "not supported"]
    assert "(not vacuous)" in low[1].sentence and "it is not vacuous" in low[0].sentence
    mixed = bound_claims(rows(("path", 5.0, 0), ("path", 0.6, 1), ("VC", math.inf, 0)), "")
    assert [claim.verdict for claim in mixed] == ["inconclusive", "inconclusive"]
    (none,) = bound_claims(rows(), "`model` must be a chain.")
    assert none.verdict == "inconclusive" and "must be a chain" in none.sentence
