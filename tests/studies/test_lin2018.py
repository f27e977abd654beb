"""Closed form: the rules on made-up numbers, Hölder exponents; twin: a smoke run told twice."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from gengap import studies
from gengap.lab import Lab
from gengap.studies._lin2018_claims import claims
from gengap.studies._lin2018_numbers import (
    SHARES,
    SHARPNESSES,
    TARGETS,
    Numbers,
    exponents,
    rough,
    waves,
)

SEEDS = (0, 1)


def made_up(off=0.0, *, seeds=SEEDS):
    """Numbers that follow theory, with exponents that are off in some seeds."""
    rates, sparse = [], []
    for seed in SEEDS:
        shift = off if seed in seeds else 0.0
        for target in TARGETS:
            for n in (100, 1000, 10_000):
                row = {"target": target.name, "n": n, "seed": seed, "per_axis": 3}
                rates.append(row | {"error": 5 * n ** (target.exponent + shift), "seconds": 1.0})
        for share in SHARES:
            error = share ** (1 / 3 + shift)
            sparse.append({"share": share, "n": 9, "seed": seed, "per_axis": 3, "error": error})
    sharpness = [{"sharpness": k, "difference": 1 / (1 + math.exp(k / 2))} for k in SHARPNESSES]
    frames = [pd.DataFrame(rows) for rows in (rates, sparse, sharpness)]
    return Numbers(rates=frames[0], sparse=frames[1], sharpness=frames[2], seconds=1.0)


def verdicts(numbers):
    return {claim.name: claim.verdict for claim in claims(numbers)}


def test_theory_supports_every_claim():
    assert set(verdicts(made_up(0.09)).values()) == {"supported"}


@pytest.mark.parametrize("off", [-0.12, 0.12])
def test_other_exponents_do_not_and_one_seed_against_is_inconclusive(off):
    found = verdicts(made_up(off))
    assert found.pop("two hidden layers localize") == "supported"
    assert set(found.values()) == {"not supported"}
    found = verdicts(made_up(off, seeds=(1,)))
    assert found.pop("two hidden layers localize") == "supported"
    assert set(found.values()) == {"inconclusive"}


def test_units_that_are_off_otherwise_do_not_localize():
    frame = made_up().sharpness.assign(difference=lambda f: f["difference"] * 1.01)
    found = verdicts(replace(made_up(), sharpness=frame))
    assert found["two hidden layers localize"] == "not supported"


def test_exponents_are_slopes_of_logarithms():
    frame = pd.DataFrame({"seed": [0, 0, 0, 1], "n": [1, 10, 100, 1], "error": [8, 0.8, 0.08, 1]})
    assert exponents(frame, "n") == {0: pytest.approx(-1.0)}


def test_the_targets_are_as_smooth_as_they_say():
    h = 2.0 ** -torch.arange(4, 14, dtype=torch.float64)
    at = torch.linspace(0, 0.4, 2001, dtype=torch.float64)[:, None]
    for function, smoothness in ((waves, 1.0), (rough, 0.5)):
        largest = torch.stack([(function(at + step) - function(at)).abs().max() for step in h])
        slope = torch.log(largest[1:] / largest[:-1]).mean() / math.log(0.5)
        assert float(slope) == pytest.approx(smoothness, abs=0.06)


@pytest.mark.slow
def test_a_smoke_run_supports_every_claim_and_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=1)
    found = studies.run("lin2018", "smoke", lab=lab)
    assert {claim.verdict for claim in found.claims} == {"supported"}
    assert [chart.name for chart in found.charts] == ["rates", "sparse"]
    again = studies.run("lin2018", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
