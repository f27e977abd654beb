"""Closed form: the rules on made-up numbers; twin: a smoke run told twice; lemma 1's system."""

from dataclasses import replace

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies._zhang2017_expressivity_claims import claims
from gengap.studies._zhang2017_expressivity_numbers import DEPTHS, PLACES, Numbers, _placed
from tests.studies.synthetic import changed

SEEDS = (0, 1)


def rows(make, **columns):
    keys, values = zip(*columns.items(), strict=True)
    frame = pd.MultiIndex.from_product([SEEDS, *values], names=["seed", *keys]).to_frame(
        index=False
    )
    return pd.concat([frame, frame.apply(make, axis=1, result_type="expand")], axis=1)


def built(n, *, depth=2, test=0.1):
    extra = 0 if depth == 2 else 2 * (depth - 2) + 1
    return {
        "d": 20,
        "weights": 2 * n + 20 + extra,
        "width": n if depth == 2 else -(-n // (depth - 1)) + 3,
        "wrong": 0,
        "error": 1e-9,
        "dense_error": 1e-5,
        "make_seconds": n * 1e-6,
        "test_accuracy": test,
    }


def made_up():
    return Numbers(
        images=rows(
            lambda row: built(500) | {"n": 500}, data=("digits",), labels=("random", "true")
        ),
        sizes=rows(lambda row: built(row.n), n=(10_000, 100_000)),
        depths=rows(lambda row: built(1000, depth=row.depth) | {"n": 1000}, depth=DEPTHS),
        places=rows(lambda row: {"error": 1e-9 if row.place < 0.5 else 1e-6}, n=(9, 90),
                    place=PLACES),
        seconds=1.0,
    )  # fmt: skip


def verdicts(numbers):
    return {claim.name: claim.verdict for claim in claims(numbers)}


def test_what_the_paper_proves_supports_every_claim():
    found = verdicts(made_up())
    assert len(found) == 6
    assert set(found.values()) == {"supported"}


@pytest.mark.parametrize(
    ("name", "frame", "column", "value", "where"),
    [
        ("2n + d weights", "images", "wrong", 1, {"labels": "random"}),
        ("2n + d weights", "images", "weights", 1021, {"labels": "random"}),
        ("at any size", "sizes", "error", 1e-5, {"n": 100_000}),
        ("deeper is narrower", "depths", "width", 504, {"depth": 3}),
        ("deeper is narrower", "depths", "weights", 2041, {"depth": 10}),
        ("in almost linear", "sizes", "make_seconds", 1.0, {"n": 100_000}),
        ("to express is not", "images", "test_accuracy", 0.4, {"labels": "true"}),
        ("to express is not", "images", "wrong", 1, {"labels": "true"}),
        ("thresholds midway", "places", "error", 9e-9, {"n": 90, "place": 0.5}),
    ],
)
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(
    name, frame, column, value, where
):
    for seeds, wanted in ((SEEDS, "not supported"), (SEEDS[:1], "inconclusive")):
        table = changed(getattr(made_up(), frame), column, value, seeds=seeds, **where)
        found = verdicts(replace(made_up(), **{frame: table}))
        matching = {verdict for claim, verdict in found.items() if claim.startswith(name)}
        assert matching == {wanted}


def test_midway_thresholds_are_worse_conditioned():
    lower, midway = (_placed(n=200, place=place, seed=0) for place in (0.0, 0.5))
    assert midway["condition"] > 10 * lower["condition"]
    assert midway["error"] > lower["error"]


@pytest.mark.slow
def test_a_smoke_run_supports_its_claims_and_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=1)
    found = studies.run("zhang2017-expressivity", "smoke", lab=lab)
    told = {claim.name: claim.verdict for claim in found.claims}
    assert told.pop("in almost linear time") == "inconclusive"
    assert set(told.values()) == {"supported"}
    names = ["weights", "time", "error", "width", "thresholds"]
    assert [chart.name for chart in found.charts] == names
    again = studies.run("zhang2017-expressivity", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()


def test_nothing_measured_is_a_page_without_verdicts(tmp_path):
    found = studies.run("zhang2017-expressivity", "smoke", lab=Lab(tmp_path), train=False)
    assert {claim.verdict for claim in found.claims} == {"inconclusive"}
    assert "Nothing is trained" in found.markdown()
