"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from gengap import studies
from gengap.lab import Lab
from gengap.studies._dinh2017_claims import change, claims
from gengap.studies._dinh2017_numbers import ALPHAS, EPSILONS, Numbers
from gengap.studies._dinh2017_trials import REGIMES, networks
from tests.studies.synthetic import changed

SEEDS = (0, 1)
FOLLOWED, *WHOLE = networks("smoke")


def rows(make, **columns):
    keys, values = zip(*columns.items(), strict=True)
    frame = pd.MultiIndex.from_product([SEEDS, *values], names=["seed", *keys]).to_frame(
        index=False
    )
    return pd.concat([frame, frame.apply(make, axis=1, result_type="expand")], axis=1)


def made_up():
    scaled = rows(
        lambda row: {
            "difference": 1e-16,
            "loss": 0.1,
            "top_eigenvalue": row.alpha**2,
            "trace": 3 * row.alpha**2,
            "trace_error": 0.0,
            "sharpness": row.alpha,
        },
        alpha=ALPHAS,
    )
    within = rows(lambda row: {"sharpness": 200.0, "distance": row.epsilon}, epsilon=EPSILONS)
    measures = rows(
        lambda row: {"invariant": row["name"] == "kept", "before": 1.0,
                     "after": 1.0 if row["name"] == "kept" else 5.0, "note": ""},
        name=("kept", "moved"),
    )  # fmt: skip
    theorem = rows(
        lambda row: {"parameters": 9, "rank": 7, "held_back": 2, "promised": 5, "above": 6},
        network=tuple(net.name for net in WHOLE),
    )
    coordinates = rows(
        lambda row: {"factor": 10.0, "expected": 0.01, "found": 0.01},
        change=("radial, appendix A", "weight norm", "inputs"),
    )
    least = dict(zip(REGIMES, (1.0, 3.0, 2.0), strict=True))
    orbit = rows(
        lambda row: {"loss": 0.01, "given": 9.0, "least": least[row.regime], "spread": 1e-9},
        regime=tuple(REGIMES),
    )
    own = {"network": FOLLOWED.name}
    return Numbers(
        scaled=scaled.assign(**own),
        within=within.assign(**own),
        measures=measures.assign(**own).astype({"invariant": object}),
        theorem=theorem,
        coordinates=coordinates.assign(**own),
        orbit=orbit,
    )


def verdicts(numbers):
    return {claim.name: claim.verdict for claim in claims(numbers, networks("smoke"))}


def test_what_the_paper_proves_supports_every_claim():
    found = verdicts(made_up())
    assert len(found) == 14
    assert set(found.values()) == {"supported"}


@pytest.mark.parametrize(
    ("name", "frame", "column", "value", "where"),
    [
        ("rescaling keeps", "scaled", "difference", 1e-9, {"alpha": 30.0}),
        ("the largest eigenvalue", "scaled", "top_eigenvalue", 900.0, {"alpha": 100.0}),
        ("the trace", "scaled", "trace", 900.0, {"alpha": 100.0}),
        ("so is the sharpness", "scaled", "sharpness", 1.5, {"alpha": 100.0}),
        ("a ball of any size", "within", "sharpness", 100.0, {"epsilon": EPSILONS[-1]}),
        ("some measures stay", "measures", "after", 1.001, {"name": "kept"}),
        ("some measures stay", "measures", "after", 1.001, {"name": "moved"}),
        ("theorem 5 (MLP 3x12)", "theorem", "above", 4, {"network": "MLP 3x12"}),
        ("the least trace", "orbit", "spread", 0.1, {"regime": "random labels"}),
        ("large batches end", "orbit", "least", 0.5, {"regime": "large batches"}),
        ("random labels end", "orbit", "least", 0.5, {"regime": "random labels"}),
        ("coordinates decide (inputs)", "coordinates", "found", 0.02, {"change": "inputs"}),
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


def test_changes_are_relative_to_the_larger_value():
    frame = pd.DataFrame({"before": [1.0, 4.0, 0.0], "after": [4.0, 1.0, 0.0]})
    assert change(frame).tolist() == [0.75, 0.75, 0.0]


@pytest.mark.global_rng("torch")
def test_the_small_convolutional_network_is_what_its_name_says():
    (data,) = {net.data for net in WHOLE}
    assert data == "digits"
    split = WHOLE[1].trial(0).data.load()[0]
    model = WHOLE[1].network.builder(split)()
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in model) == 2
    assert model(split.batch(torch.arange(3))[0]).shape == (3, 10)


@pytest.mark.slow
def test_a_smoke_run_supports_every_claim_and_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("dinh2017", "smoke", lab=lab)
    told = {claim.name: claim.verdict for claim in found.claims}
    theirs = [verdict for name, verdict in told.items() if not name.endswith("the coordinates")]
    assert set(theirs) == {"supported"}
    assert (len(theirs), len(told)) == (12, 14)
    assert [chart.name for chart in found.charts] == ["top-eigenvalue", "trace", "sharpness"]
    again = studies.run("dinh2017", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
