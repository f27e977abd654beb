"""Property: the trials of an audit; oracle: the list of figure 1 of the paper, written by hand."""

import pytest

from gengap.auditing import data_sets, plan
from gengap.lab import Data, Model
from gengap.training import Recipe

DATA, MODEL = Data.named("digits"), Model.named("mlp")


def test_the_data_sets_of_figure_1_in_a_fixed_order():
    assert [(s.name, s.level) for s in data_sets((0.4, 0.2))] == [
        ("true labels", 0.0),
        ("20% redrawn", 0.2),
        ("40% redrawn", 0.4),
        ("random labels", 1.0),
        ("shuffled pixels", None),
        ("random pixels", None),
        ("Gaussian noise", None),
    ]


def test_table_and_text_have_features_and_tokens():
    assert [s.name for s in data_sets((), parts="features")][2:] == [
        "shuffled features",
        "random features",
        "Gaussian noise",
    ]
    assert [s.name for s in data_sets((), parts="tokens")][2:] == [
        "shuffled tokens",
        "random tokens",
    ]


def test_every_data_set_with_every_seed_and_no_trial_twice():
    planned = plan(DATA, MODEL, Recipe(), levels=(0.2, 0.4, 0.6, 0.8), seeds=(0, 1, 2))
    assert len(planned) == 27
    assert len({p.trial.id for p in planned}) == 27
    assert {p.trial.seed for p in planned} == {0, 1, 2}


def test_regularizers_are_also_left_out_on_true_and_random_labels():
    recipe = Recipe(weight_decay=1e-3, label_smoothing=0.1)
    planned = plan(DATA, MODEL, recipe, levels=(), seeds=(0,))
    bare = [p for p in planned if p.variant == "without regularizers"]
    assert [p.data_set.name for p in bare] == ["true labels", "random labels"]
    assert all(p.trial.recipe == Recipe(dropout=0.0) for p in bare)
    assert all(p.trial.recipe == recipe for p in planned if p not in bare)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 1.5])
def test_levels_lie_between_the_ends_that_are_run_anyway(level):
    with pytest.raises(ValueError, match=r"`levels` must lie between 0 and 1"):
        data_sets((level,))
