"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

from dataclasses import replace

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies._zhang2017_kernels_claims import claims
from gengap.studies._zhang2017_kernels_numbers import (
    FORCED_LABELS,
    PLAIN,
    RANDOM_CENTRES,
    Numbers,
)
from gengap.studies._zhang2017_kernels_scales import interpolants
from tests.studies.synthetic import changed

ASKED = interpolants("smoke")
PIXELS, GABOR = (one.name for one in ASKED)


def made_up():
    fits = [
        {
            "interpolant": name,
            "ridge": ridge,
            "seed": seed,
            "level": level,
            "train_error": 0.0,
            "test_error": error + 0.88 * level,
            "left_out_error": error,
            "norm": norm * (1 + 3 * level),
        }
        for name, error, norm in ((PIXELS, 0.02, 220.0), (GABOR, 0.01, 390.0))
        for ridge in (0.0, 0.1)
        for seed in (0, 1)
        for level in (0.0, 0.5, 1.0)
    ]
    kinds = {PLAIN: 1.0, FORCED_LABELS: 4.0, f"{PLAIN}, few": 1.0, RANDOM_CENTRES: 9.0}
    norms = [
        {"kind": kind, "seed": seed, "test_error": 0.1, "norm": norm}
        for kind, norm in kinds.items()
        for seed in (0, 1)
    ]
    errors = {8: (0.6, 0.59), 64: (0.9, 0.5), 512: (0.42, 0.4)}
    trend = [
        {"count": count, "seed": seed, "ridge": ridge, "test_error": e, "left_out_error": e}
        for count, pair in errors.items()
        for ridge, e in zip((0.0, 0.1), pair, strict=True)
        for seed in (0, 1)
    ]
    return Numbers(fits=pd.DataFrame(fits), norms=pd.DataFrame(norms), trend=pd.DataFrame(trend))


def verdicts(numbers):
    return {claim.name: claim.verdict for claim in claims(numbers, ASKED)}


def test_the_papers_numbers_support_every_claim():
    found = verdicts(made_up())
    assert len(found) == 15
    assert set(found.values()) == {"supported"}


@pytest.mark.parametrize(
    ("part", "column", "value", "where", "name"),
    [
        ("fits", "train_error", 0.01, {"level": 1.0, "interpolant": PIXELS}, "fits any labels"),
        ("fits", "test_error", 0.7, {"level": 0.0}, "interpolates and generalizes"),
        ("fits", "test_error", 0.005, {"ridge": 0.1, "level": 0.0}, "a ridge is not"),
        ("fits", "test_error", 0.018, {"interpolant": GABOR, "level": 0.0}, "features matter"),
        ("fits", "norm", 100.0, {"interpolant": GABOR, "level": 0.0}, "the norm does not tell"),
        ("fits", "norm", 230.0, {"level": 1.0}, "random labels need"),
        ("norms", "norm", 1.5, {"kind": FORCED_LABELS}, f"what does not .* .{FORCED_LABELS}"),
        ("norms", "norm", 1.5, {"kind": RANDOM_CENTRES}, f"what does not .* .{RANDOM_CENTRES}"),
        ("trend", "test_error", 0.6, {"count": 512, "ridge": 0.1}, "more random filters"),
        ("trend", "test_error", 0.3, {"count": 512, "ridge": 0.1}, "a ridge helps"),
        ("trend", "test_error", 0.2, {"count": 64, "ridge": 0.0}, "double descent"),
    ],
)
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(part, column, value, where, name):
    for seeds, wanted in (((0, 1), "not supported"), ((0,), "inconclusive")):
        table = changed(getattr(made_up(), part), column, value, seeds=seeds, **where)
        found = verdicts(replace(made_up(), **{part: table}))
        own = pd.Series(found)[pd.Series(found).index.str.match(name)]
        assert wanted in set(own)


def test_nothing_computed_is_told_as_open(tmp_path):
    found = studies.run("zhang2017-kernels", "smoke", lab=Lab(tmp_path), train=False)
    assert {claim.verdict for claim in found.claims} == {"inconclusive"}
    assert not found.charts
    assert "# Zhang et al. (2017), section 5" in found.markdown()


@pytest.mark.slow
def test_a_smoke_run_interpolates_and_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("zhang2017-kernels", "smoke", lab=lab)
    said = {claim.name: claim.verdict for claim in found.claims}
    assert said[f"fits any labels ({PIXELS})"] == "supported"
    assert said["double descent over filters"] == "supported"
    assert len(found.charts) == 4
    again = studies.run("zhang2017-kernels", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
