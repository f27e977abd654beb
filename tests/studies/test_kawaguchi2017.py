"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

from dataclasses import replace

import pandas as pd
import pytest

from gengap import studies
from gengap.lab import Lab
from gengap.studies._kawaguchi2017_claims import claims
from gengap.studies._kawaguchi2017_numbers import Numbers, one_hot
from gengap.studies._kawaguchi2017_trials import JUDGED, LABELS, PLANS
from tests.studies.synthetic import changed
from tests.training.cases import make_split

PLAN = PLANS["smoke"]
SEEDS = (0, 1)


def ends():
    return pd.DataFrame([
        {"labels": labels, "strength": strength, "seed": seed, "status": "stopped",
         "test_accuracy": 0.95 if strength else 0.94}
        for labels in LABELS for strength in (0.0, JUDGED) for seed in SEEDS
    ])  # fmt: skip


def made_up():
    terms = [
        {"level": level, "seed": seed, "gap": 1 + level, "targets": 0.0, "linear": 0.6,
         "quadratic": 0.4 + level, "residual": 0.0, "measured": 1 + level, "paths": 7,
         "cosine": 0.1, "bound": 9.0}
        for level in PLAN.levels for seed in SEEDS
    ]  # fmt: skip
    phases = [
        {"share": share, "seed": seed, "first": 0.8, "second": 0.93, "bound": 9.0}
        for share in PLAN.shares for seed in SEEDS
    ]  # fmt: skip
    return Numbers(terms=pd.DataFrame(terms), phases=pd.DataFrame(phases))


def verdicts(table, numbers):
    return [claim.verdict for claim in claims(table, numbers, PLAN)]


def test_good_numbers_support_every_claim():
    assert set(verdicts(ends(), made_up())) == {"supported"}
    assert len(verdicts(ends(), made_up())) == 7


@pytest.mark.parametrize(("place", "part", "column", "value", "where"), [
    (0, "ends", "test_accuracy", 0.9, {"labels": "true", "strength": JUDGED}),
    (1, "ends", "test_accuracy", 0.9, {"labels": "a fifth redrawn", "strength": JUDGED}),
    (2, "terms", "linear", 0.61, {"level": 0.5}),
    (3, "terms", "gap", 0.5, {"level": 0.5}),
    (4, "phases", "second", 0.7, {"share": PLAN.shares[0]}),
    (5, "phases", "second", 0.9, {}),
])  # fmt: skip
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(
    place, part, column, value, where
):
    for seeds, wanted in ((SEEDS, "not supported"), ((0,), "inconclusive")):
        table, numbers = ends(), made_up()
        if part == "ends":
            table = changed(table, column, value, seeds=seeds, **where)
        else:
            frame = changed(getattr(numbers, part), column, value, seeds=seeds, **where)
            numbers = replace(numbers, **{part: frame})
        found = verdicts(table, numbers)
        assert found[place] == wanted
        del found[place]
        assert set(found) == {"supported"}


def test_nothing_run_is_told_as_nothing(tmp_path):
    found = studies.run("kawaguchi2017", "smoke", lab=Lab(tmp_path), train=False)
    assert [claim.verdict for claim in found.claims[:-1]] == ["inconclusive"] * 6
    assert found.charts == []


def test_one_hot_targets_have_a_one_at_the_label():
    split = make_split(n=5, classes=3)
    assert one_hot(split).targets.argmax(1).tolist() == split.targets.tolist()
    assert one_hot(split).targets.sum(1).tolist() == [1.0] * 5


@pytest.mark.slow
def test_a_smoke_run_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("kawaguchi2017", "smoke", lab=lab)
    told = {claim.name: claim.verdict for claim in found.claims}
    assert told["the decomposition is exact"] == "supported"
    assert told["one network, any gap"] == "supported"
    assert [chart.name for chart in found.charts] == ["darc1", "terms", "phases"]
    again = studies.run("kawaguchi2017", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
