"""Twin: cells trained and measured by hand; property: resumed, refused, drawn."""

import math
from functools import partial

import pytest
import torch

import gengap
from gengap.auditing import phase_plane
from gengap.auditing._phase_settings import noisy, pairs_of
from gengap.corruptions import RandomLabels
from gengap.curvature import hessian, mode_connectivity, top_eigenpairs
from gengap.data import gaussian_clusters
from gengap.lab import Data, Lab
from gengap.models import mlp

TRAIN, TEST = (
    gaussian_clusters(60, dim=5, num_classes=3, separation=2.0, seed=0, half=half)
    for half in ("train", "test")
)
RECIPE = gengap.Recipe(epochs=6, batch_size=20, lr=0.1)


def build(width=6):
    return mlp((5,), 3, hidden=(width,))


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab"), workers=1)
    asked = partial(phase_plane, build, TRAIN, TEST, label_noise=(0.0, 0.5), epochs=(1, 6),
                    recipe=RECIPE, seeds=(3, 4), steps=5, lab=lab)  # fmt: skip
    return asked, asked()


def test_every_cell_is_what_training_and_measuring_by_hand_give(plane):
    _, found = plane
    frame = found.frame.set_index(["load", "temperature"])
    assert len(frame) == 4
    row = frame.loc[(0.5, 6)]
    split = RandomLabels(probability=0.5)(TRAIN, seed=3)
    runs = [gengap.fit(build, split, test=TEST, recipe=RECIPE, seed=seed) for seed in (3, 4)]
    errors = [1 - run.final["test_accuracy"] for run in runs]
    assert row["test_error"] == pytest.approx(sum(errors) / 2, abs=1e-6)
    risks = [gengap.Risk(run.model, split) for run in runs]
    tops = [float(top_eigenpairs(hessian(risk), k=1).values[0]) for risk in risks]
    assert row["top_eigenvalue"] == pytest.approx(sum(tops) / 2, rel=1e-2)
    straight = gengap.curvature.line(
        risks[0], runs[0].model, runs[1].model, alphas=torch.linspace(0, 1, 13).double()
    )
    assert row["straight"] == pytest.approx(mode_connectivity(straight).value, rel=1e-4)
    alike = gengap.measures.cka(runs[0].model, runs[1].model, split)
    assert row["cka"] == pytest.approx(alike.value, abs=1e-4)
    weights = 5 * 6 + 6 + 6 * 3 + 3
    assert row["examples_per_weight"] == pytest.approx(0.5 * 60 / weights)
    assert frame.loc[(0.0, 6), "examples_per_weight"] == pytest.approx(60 / weights)
    assert row["converged"] == 1


def test_told_again_nothing_is_computed(plane, monkeypatch):
    asked, found = plane
    monkeypatch.setattr("gengap.auditing._phase_numbers.bezier", None)
    again = asked(run=False)
    assert again.frame.equals(found.frame)
    more = asked(run=False, seeds=(3, 4, 8, 9))
    assert len(more.frame) == 8
    assert more.frame[more.frame["pair"] == 1]["test_error"].isna().all()
    assert set(more.frame[more.frame["pair"] == 1]["status"]) == {"unfinished, unfinished"}
    assert len(found.trials) == 8


def test_each_value_is_a_heat_map(plane):
    charts = plane[1].charts()
    assert [chart.name for chart in charts][:2] == [
        "test-error-label-noise-epochs",
        "train-error-label-noise-epochs",
    ]
    assert len(charts) == 6
    assert charts[0].title == "Test error: labels redrawn and epochs of training"
    assert len(charts[0].data) == 4
    with pytest.raises(ValueError, match="`value` must be one of"):
        plane[1].chart("loss")


def test_widths_and_learning_rates_make_a_plane_and_a_diverged_network_has_no_numbers():
    found = phase_plane(build, TRAIN, TEST, width=(2, 7), lr=(0.1, 1e30),
                        recipe=RECIPE, steps=2).frame  # fmt: skip
    weights = found.set_index(["load", "temperature"])["examples_per_weight"]
    assert weights[(2, 0.1)] == pytest.approx(60 / (5 * 2 + 2 + 2 * 3 + 3))
    assert weights[(7, 0.1)] == pytest.approx(60 / (5 * 7 + 7 + 7 * 3 + 3))
    wild = found[found["temperature"] == 1e30]
    assert set(wild["status"]) == {"diverged, diverged"}
    assert wild[["top_eigenvalue", "connectivity", "cka"]].isna().all(axis=None)
    assert found[found["temperature"] == 0.1][["top_eigenvalue", "cka"]].notna().all(axis=None)


def test_a_pair_shares_its_noise_and_another_pair_has_its_own():
    data = Data.of(TRAIN, TEST)
    one, again, other = (noisy(data, 0.5, seed=seed) for seed in (1, 1, 2))
    targets = [made.load()[0].targets for made in (one, again, other)]
    assert one.spec == again.spec != other.spec
    assert torch.equal(targets[0], targets[1])
    assert not torch.equal(targets[0], targets[2])
    assert torch.equal(one.load()[1].targets, TEST.targets)
    assert noisy(data, 0.0, seed=1) is data
    assert pairs_of((0, 1, 5, 7)) == [(0, 1), (5, 7)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": (1, 2)}, "Exactly one of `label_noise` or `width` must be given; got none"),
        ({"width": (1,)}, "Exactly one of `batch_size` or `lr` or `epochs` must be given"),
        ({"width": (1,), "lr": (0.1,), "epochs": (1,)}, "Exactly one of .*; got lr, epochs"),
        ({"label_noise": (1.5,), "epochs": (1,)}, "`label_noise` must lie in"),
        ({"width": (4, 4), "epochs": (1,)}, "`width` must hold different values"),
        ({"width": (4,), "epochs": (1.5,)}, "`epochs` must be a whole number"),
        ({"width": (4,), "epochs": (1,), "seeds": (1,)}, "`seeds` must be different and even"),
        ({"width": (4,), "epochs": (1,), "seeds": (1, 1)}, "`seeds` must be different and even"),
    ],
)
def test_bad_planes_are_refused_in_a_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        phase_plane(build, TRAIN, TEST, **options)


def test_a_value_that_is_not_there_is_nan(tmp_path):
    found = phase_plane(build, TRAIN, TEST, width=(2,), lr=(0.1,), run=False, lab=tmp_path)
    assert math.isnan(found.frame["connectivity"][0])
