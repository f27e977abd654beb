"""Closed form: conditions keep rows. Oracle: rows picked by hand."""

import numpy as np
import pandas as pd
import pytest

from gengap._errors import UsageError
from gengap.cli._where import where

FRAME = pd.DataFrame({
    "trial": list("abcd"),
    "status": ["fitted", "stopped", "fitted", None],
    "seed": [0, 1, 2, 10],
    "test_accuracy": [0.9, np.nan, 0.95, 0.5],
    "recipe.nesterov": [True, False, None, True],
    "corruption": ["none", "RandomLabels(probability=0.5)", "none", "RandomLabels()"],
    "gone": [np.nan] * 4,
})


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ([], "abcd"),
        (["status=fitted"], "ac"),
        (["status = fitted", "seed>0"], "c"),
        (["seed<=2"], "abc"),
        (["seed=10"], "d"),
        (["seed=1e1"], "d"),
        (["test_accuracy>=0.9"], "ac"),
        (["test_accuracy!=0.9"], "bcd"),
        (["test_accuracy="], "b"),
        (["test_accuracy!="], "acd"),
        (["corruption~randomlabels"], "bd"),
        (["corruption=RandomLabels(probability=0.5)"], "b"),
        (["recipe.nesterov=yes"], "ad"),
        (["recipe.nesterov!=true"], "bc"),
        (["gone="], "abcd"),
        (["gone=3"], ""),
        (["trial>b"], "cd"),
    ],
)
def test_rows_that_meet_all_conditions_are_kept(conditions, kept):
    assert "".join(where(FRAME, conditions)["trial"]) == kept


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("fitted", "must hold conditions such as"),
        ("=3", "must hold conditions such as"),
        ("sede=3", "got 'sede'; did you mean 'seed'"),
        ("seed=three", "must compare a column of numbers with a number; got 'seed=three'"),
        ("recipe.nesterov>no", "must compare yes or no with = or !="),
    ],
)
def test_what_is_no_condition_is_one_sentence(condition, message):
    with pytest.raises(UsageError, match=message):
        where(FRAME, [condition])
