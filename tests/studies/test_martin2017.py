"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

from dataclasses import replace

import pandas as pd
import pytest

from gengap import studies
from gengap.auditing import PhasePlane
from gengap.capacity import ising_transition
from gengap.lab import Lab
from gengap.studies._martin2017_claims import claims, ranked, steepest
from gengap.studies._martin2017_numbers import Numbers
from gengap.studies._martin2017_pictures import charts, tables
from gengap.studies._martin2017_settings import PRODUCTS, SETTINGS

SMALL = SETTINGS["small"]


def plane(load, loads, temperature, temperatures):
    rows = [
        {
            "load": level,
            "temperature": heat,
            "pair": pair,
            "examples_per_weight": 1.0,
            "status": "fitted, fitted",
            "train_error": 0.0,
            "test_error": 0.1 + 0.01 * (i * (j + 1)) + (0.001 * j if load == "width" else 0),
            "train_loss": 0.01,
            "test_loss": 1.0,
            "top_eigenvalue": float((i * 7 + j * 5) % 4 + 1),
            "trace": 10.0,
            "converged": 1.0,
            "connectivity": -0.001,
            "error_connectivity": 0.0,
            "straight": -0.5,
            "cka": 0.9 - 0.02 * (i * (j + 1)) - (0.002 * j if load == "width" else 0),
            "cka_error": 0.01,
        }
        for pair in (0, 1)
        for i, level in enumerate(loads)
        for j, heat in enumerate(temperatures)
    ]
    return PhasePlane(load=load, temperature=temperature, frame=pd.DataFrame(rows))


def made_up():
    finite = pd.DataFrame([
        {"load": load, "examples": 1, "error": max(0.0, 0.5 - load * weights / 20),
         "standard_error": 0.01, "worst": 0.1, "alone": 0.0, "annealed": 0.1, "bound": 0.5,
         "beyond": 0.04, "weights": weights, "samples": 100}
        for weights in (9, 13) for load in (0.0, 0.5, 1.0)
    ])  # fmt: skip
    annealed = pd.DataFrame({"curve": ["Ising, annealed"] * 2, "load": [1, 2], "error": [0.3, 0]})
    boundary = pd.DataFrame({"line": ["spinodal"] * 2, "temperature": [0, 1], "load": [1.7, 2.9]})
    return Numbers(
        transition=ising_transition(),
        products=dict(PRODUCTS),
        annealed=annealed,
        boundary=boundary,
        finite=finite,
        noise=plane("label_noise", SMALL.noise, "epochs", SMALL.epochs),
        width=plane("width", SMALL.width, "batch_size", SMALL.batch_size),
    )


def verdicts(numbers):
    return {claim.name: claim.verdict for claim in claims(numbers)}


def with_plane(name, column, value, *, pairs=(0, 1), **where):
    numbers = made_up()
    own = getattr(numbers, name)
    frame = own.frame.copy()
    match = frame["pair"].isin(pairs)
    for key, wanted in where.items():
        match &= frame[key] == wanted
    assert match.any()
    frame.loc[match, column] = value
    return replace(numbers, **{name: replace(own, frame=frame)})


def test_what_the_papers_say_supports_every_claim():
    found = verdicts(made_up())
    assert len(found) == 11
    assert set(found.values()) == {"supported"}


@pytest.mark.parametrize(
    ("claim", "name", "column", "value", "where"),
    [
        ("networks fit", "noise", "train_error", 0.02, {"temperature": 100, "load": 0.6}),
        ("noise leads", "noise", "test_error", 0.05, {"temperature": 100, "load": 0.6}),
        ("without noise", "noise", "test_error", 0.5, {"temperature": 100, "load": 0.0}),
        ("networks that agree generalize (noise", "noise", "cka", 0.5, {"load": 0.0}),
        ("networks that agree generalize (width", "width", "cka", 0.1, {"load": 4}),
        ("wide networks", "width", "connectivity", 0.1, {"temperature": 10, "load": 192}),
    ],
)
def test_every_rule_about_networks_can_fail_and_one_pair_against_is_inconclusive(
    claim, name, column, value, where
):
    for pairs, wanted in (((0, 1), "not supported"), ((0,), "inconclusive")):
        found = verdicts(with_plane(name, column, value, pairs=pairs, **where))
        assert {verdict for said, verdict in found.items() if said.startswith(claim)} == {wanted}


def test_sharpness_that_ranks_errors_as_cka_does_refutes_that_it_says_less():
    numbers = made_up()
    frame = numbers.noise.frame.assign(top_eigenvalue=lambda rows: rows["test_error"])
    sharp = replace(numbers, noise=replace(numbers.noise, frame=frame))
    assert verdicts(sharp)["sharpness alone says less"] == "not supported"


def test_rules_about_the_model_can_fail():
    numbers = made_up()
    wrong = replace(
        numbers,
        transition=replace(numbers.transition, spinodal=1.74),
        products=PRODUCTS | {5.0: 0.7},
        finite=numbers.finite.assign(beyond=0.2, error=0.1),
    )
    assert [*verdicts(wrong).values()][:4] == ["not supported"] * 4
    nothing = replace(numbers, finite=numbers.finite.iloc[:0])
    assert [*verdicts(nothing).values()][2:4] == ["inconclusive"] * 2
    assert steepest(numbers.finite).to_dict() == pytest.approx({9: 0.45, 13: 0.65})


def test_ranks_leave_out_what_is_missing():
    rows = pd.DataFrame({"cka": [0.9, 0.5, None, 0.1], "test_error": [0.1, 0.2, 0.9, 0.3]})
    assert ranked(rows, "cka") == pytest.approx(-1)


def test_every_value_of_both_planes_is_drawn_and_told():
    numbers = made_up()
    drawn = charts(numbers)
    assert [chart.name for chart in drawn[:2]] == ["learning-curves", "phase-diagram"]
    assert len(drawn) == 2 + 2 * 6
    told = tables(numbers)
    assert [len(table.frame) for table in told] == [6, 16, 12]


@pytest.mark.slow
def test_a_smoke_run_supports_the_model_and_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("martin2017", "smoke", lab=lab)
    told = [claim.verdict for claim in found.claims]
    assert told[:4] == ["supported"] * 4
    again = studies.run("martin2017", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
    with pytest.raises(ValueError, match="`seeds` must be different and even"):
        studies.run("martin2017", "smoke", lab=lab, seeds=(0,))
