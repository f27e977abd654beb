"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

from dataclasses import replace

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies._goodfellow2015_claims import claims
from gengap.studies._goodfellow2015_numbers import BETWEEN, FROM_START, Numbers
from gengap.studies._goodfellow2015_trials import networks
from gengap.studies._read_paths import profile_of
from tests.studies.synthetic import changed

(NET,) = networks("smoke")


def made_up():
    rows = [
        {
            "network": NET.name,
            "kind": kind,
            "seed": seed,
            "before": 2.0,
            "rise": 0.001,
            "barrier": 0.5,
        }
        for kind in (FROM_START, BETWEEN)
        for seed in (0, 1)
    ]
    return Numbers(paths=pd.DataFrame(), bumps=pd.DataFrame(rows), ways=pd.DataFrame())


def verdicts(numbers):
    return [claim.verdict for claim in claims(numbers, [NET])]


def test_the_papers_curves_support_both_claims():
    assert verdicts(made_up()) == ["supported", "supported"]


@pytest.mark.parametrize(
    ("place", "column", "value", "kind"),
    [(0, "rise", 0.1, FROM_START), (1, "barrier", 0.01, BETWEEN)],
)
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(place, column, value, kind):
    for seeds, wanted in (((0, 1), "not supported"), ((0,), "inconclusive")):
        table = changed(made_up().bumps, column, value, seeds=seeds, kind=kind)
        found = verdicts(replace(made_up(), bumps=table))
        assert found[place] == wanted
        assert found[1 - place] == "supported"


def test_a_kept_path_is_its_profile_again():
    kept = {
        "alpha": [0.0, 1.0, 0.0, 1.0],
        "half": ["train", "train", "test", "test"],
        "loss": [3.0, 1.0, 4.0, 2.0],
        "accuracy": [0.1, 1.0, 0.1, 0.9],
    }
    profile = profile_of(kept)
    assert profile.alphas.tolist() == [0.0, 1.0]
    assert profile.losses["train"].tolist() == [3.0, 1.0]
    assert profile.accuracies["train"].tolist() == [0.1, 1.0]


@pytest.mark.slow
def test_a_smoke_run_meets_no_obstacle_and_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("goodfellow2015", "smoke", lab=lab)
    assert [claim.verdict for claim in found.claims] == ["supported", "supported"]
    names = [chart.name for chart in found.charts]
    assert names == ["start-to-end-mlp-2x64", "end-to-another-end-mlp-2x64", "way"]
    again = studies.run("goodfellow2015", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
