"""Closed form: the rules of the study on made-up numbers; twin: a smoke run read by hand."""

from dataclasses import replace

import pandas as pd
import pytest

import gengap
from gengap import studies
from gengap.curvature import barrier, line
from gengap.lab import Lab
from gengap.studies._im2016_claims import claims
from gengap.studies._im2016_numbers import Numbers, measure
from gengap.studies._im2016_trials import NETWORKS, OPTIMIZERS, trial
from tests.studies.synthetic import changed

SEEDS = (0, 1)
FAR = dict(zip(OPTIMIZERS, (1.0, 2.0, 3.0, 4.0), strict=True))


def made_up():
    places = [{"network": network, "seed": seed} for network in NETWORKS for seed in SEEDS]
    barriers = [
        {**p, "pair": pair, "barrier": 1.0} for p in places for pair in ("a to b", "a to c")
    ]
    distances = [{**p, "optimizer": k, "distance": FAR[k]} for p in places for k in OPTIMIZERS]
    return Numbers(
        paths=pd.DataFrame(),
        barriers=pd.DataFrame(barriers),
        distances=pd.DataFrame(distances),
        planes={},
    )


def verdicts(numbers):
    return {claim.name: claim.verdict for claim in claims(numbers)}


def test_the_papers_picture_supports_every_claim():
    found = verdicts(made_up())
    assert len(found) == 6
    assert set(found.values()) == {"supported"}


@pytest.mark.parametrize(
    ("name", "frame", "column", "value", "where"),
    [
        ("different optimizers end", "barriers", "barrier", 0.01, {"pair": "a to c"}),
        ("optimizers go differently", "distances", "distance", 1.1, {}),
    ],
)
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(
    name, frame, column, value, where
):
    for seeds, wanted in ((SEEDS, "not supported"), (SEEDS[:1], "inconclusive")):
        where = {"network": "with BatchNorm", **where}
        table = changed(getattr(made_up(), frame), column, value, seeds=seeds, **where)
        found = verdicts(replace(made_up(), **{frame: table}))
        assert (
            found[
                f"{name} in different basins (with BatchNorm)"
                if frame == "barriers"
                else f"{name} far (with BatchNorm)"
            ]
            == wanted
        )


def test_another_order_in_one_seed_is_inconclusive():
    table = changed(made_up().distances, "distance", 9.0, seeds=SEEDS[:1], optimizer="SGD")
    found = verdicts(replace(made_up(), distances=table))
    assert found["what an optimizer does is the same in every run (with BatchNorm)"] == (
        "inconclusive"
    )


def test_all_optimizers_of_a_seed_start_from_the_same_weights():
    from gengap.studies._read_paths import starting

    for network in NETWORKS:
        starts = [starting(trial(network, name, "smoke", 3)).state_dict() for name in OPTIMIZERS]
        for other in starts[1:]:
            assert all(other[key].equal(value) for key, value in starts[0].items())


@pytest.mark.slow
def test_a_smoke_run_reads_what_a_plain_call_reads_and_is_told_again(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("im2016", "smoke", lab=lab)
    numbers = measure(lab, "smoke", SEEDS, compute=False, progress=None)
    network = "without BatchNorm"
    first, last = (trial(network, name, "smoke", 0) for name in ("SGD", "Adam"))
    own = numbers.barriers.query("network == @network and seed == 0 and pair == 'SGD to Adam'")
    risk = gengap.Risk(lab.model(last), last.splits()[0])
    by_hand = line(risk, lab.model(first), None, alphas=[i / 16 for i in range(-4, 21)])
    assert own["barrier"].item() == pytest.approx(barrier(by_hand).value, abs=1e-6)
    assert set(numbers.planes) == set(NETWORKS)
    assert len(found.charts) == 4
    again = studies.run("im2016", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
