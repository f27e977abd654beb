"""Property: trials with corruptions, schedules and regularizers of one's own.

Oracle: training without a lab; the definition of each part in words.
"""

import importlib
import math
import sys
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

import gengap
from gengap.corruptions import Compose, Corruption, RandomLabels
from gengap.lab import Data, Lab, Model, Trial
from gengap.optim import Regularizer
from gengap.training import Schedule

DATA, MODEL = Data.named("digits", examples=100), Model.named("mlp", hidden=(16,))


def shifting(by):
    """A corruption whose class is made anew, under the same name."""

    @dataclass(frozen=True, kw_only=True)
    class Shift(Corruption):
        share: float = 1.0

        def __call__(self, split, /, *, seed):
            targets = (split.targets + by) % split.num_classes
            return replace(split, targets=targets, changed=targets != split.targets)

    return Shift


def first(share=1.0):
    @dataclass(frozen=True, kw_only=True)
    class Same(Corruption):
        def __call__(self, split, /, *, seed):
            return split

    return Same()


def second():
    @dataclass(frozen=True, kw_only=True)
    class Same(Corruption):
        def __call__(self, split, /, *, seed):
            return split[:50]

    return Same()


def either(how):
    if how == "all":

        @dataclass(frozen=True, kw_only=True)
        class Some(Corruption):
            def __call__(self, split, /, *, seed):
                return split

    else:

        @dataclass(frozen=True, kw_only=True)
        class Some(Corruption):
            def __call__(self, split, /, *, seed):
                return split[:50]

    return Some()


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    least: float = 0.0

    def __call__(self, step, /, *, steps_per_epoch, total_steps):
        return max(self.least, 1 - step / total_steps)


@dataclass(frozen=True, kw_only=True)
class Loud(Regularizer):
    strength: float = 0.1

    @property
    def label(self):
        return "loud"

    def penalty(self, outputs, features):
        return self.strength * outputs.square().mean()


def trial(corruption=None, **recipe):
    chosen = gengap.Recipe(**{"epochs": 4, "lr": 0.1} | recipe)
    return Trial(data=DATA, model=MODEL, recipe=chosen, corruption=corruption)


def test_an_id_depends_on_the_code_of_a_class_and_on_what_is_in_it():
    @dataclass(frozen=True, kw_only=True)
    class RandomLabels(Corruption):
        probability: float

        def __call__(self, split, /, *, seed):
            return split

    parts = [
        *(shifting(by)() for by in (0, 1)),
        shifting(0)(share=0.5),
        *(first(), second()),
        *(either("all"), either("half")),
        *(RandomLabels(probability=1.0), gengap.corruptions.RandomLabels(probability=1.0)),
    ]
    ids = [trial(part).id for part in parts]
    assert len(set(ids)) == len(ids)
    assert trial(shifting(1)()).id == ids[1]
    assert trial(schedule=Linear()).id != trial(schedule=Linear(least=0.5)).id != trial().id


def of_factory(how, value):
    class Base(Corruption):
        def __call__(self, split, /, *, seed):
            return split

    @dataclass(frozen=True, kw_only=True)
    class Static(Base):
        @staticmethod
        def amount():
            return value

    @dataclass(frozen=True, kw_only=True)
    class Property(Base):
        @property
        def amount(self):
            return value

    @dataclass(frozen=True, kw_only=True)
    class Default(Base):
        def __call__(self, split, /, *, seed, amount=value):
            return split

    @dataclass(frozen=True, kw_only=True)
    class InBody(Base):
        amounts = (value, [value])

    @dataclass(frozen=True, kw_only=True)
    class Field(Base):
        amount: float = value

    kinds = {"static": Static, "property": Property, "default": Default, "body": InBody}
    return {**kinds, "field": Field}[how]()


@pytest.mark.parametrize("how", ["static", "property", "default", "body", "field"])
def test_an_id_depends_on_what_a_class_was_made_around(how):
    ids = [trial(of_factory(how, value)).id for value in (0.1, 0.9)]
    assert ids[0] != ids[1] and ids[1] == trial(of_factory(how, 0.9)).id


def test_an_id_tells_numbers_that_are_not_finite_from_each_other():
    given = [math.inf, -math.inf, math.nan, None, (math.inf,), {1: 2.0}, {"1": 2.0}]
    ids = [trial(shifting(0)(share=value)).id for value in given]
    assert len(set(ids)) == len(ids)
    assert ids == [trial(shifting(0)(share=value)).id for value in given]
    with pytest.raises(TypeError, match="plain data; got ndarray in it"):
        _ = trial(shifting(0)(share=np.ones(2))).id


def test_an_id_depends_on_a_default_that_stands_elsewhere(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    ids = []
    for name, rate in (("one", 0.1), ("two", 0.9), ("three", 0.1)):
        (tmp_path / f"lab_rate_{name}.py").write_text(f"RATE = {rate}\n")
        monkeypatch.setitem(sys.modules, "lab_rate", importlib.import_module(f"lab_rate_{name}"))
        (tmp_path / "lab_noise.py").write_text(
            "from dataclasses import dataclass\nfrom gengap.corruptions import Corruption\n"
            "from lab_rate import RATE\n\n\n@dataclass(frozen=True, kw_only=True)\n"
            "class Noise(Corruption):\n    probability: float = RATE\n\n"
            "    def __call__(self, split, /, *, seed):\n        return split\n"
        )
        monkeypatch.delitem(sys.modules, "lab_noise", raising=False)
        ids.append(trial(importlib.import_module("lab_noise").Noise()).id)
    monkeypatch.delitem(sys.modules, "lab_noise")
    assert ids[0] == ids[2] != ids[1]


def test_a_lab_trains_each_of_two_classes_of_one_name(tmp_path):
    train, test = DATA.load()
    trials = [trial(shifting(by)()) for by in (0, 1)]
    found = Lab(tmp_path).run(trials)
    for row, one in zip(found.itertuples(), trials, strict=True):
        halves = one.splits()
        alone = gengap.fit(one.builder(), halves[0], test=halves[1], recipe=one.recipe, seed=0)
        assert row.train_accuracy == alone.final["train_accuracy"]
    assert not trials[0].splits()[0].changed.any() and trials[1].splits()[0].changed.all()
    assert len(train) == 100 and test is not None


PARTS = {
    "corruption": ({"corruption": shifting(1)(share=0.5)}, "corruption", "Shift(share=0.5)"),
    "composed": (
        {"corruption": Compose(corruptions=(RandomLabels(probability=0.5), shifting(1)()))},
        "corruption",
        "Compose(corruptions=(RandomLabels(probability=0.5), Shift(share=1.0)))",
    ),
    "schedule": ({"schedule": Linear(least=0.25)}, "recipe.schedule", "Linear(least=0.25)"),
    "regularizer": ({"regularizers": (Loud(),)}, "recipe.regularizers", "(Loud(strength=0.1))"),
}


@pytest.mark.parametrize("part", PARTS)
def test_the_table_of_trials_tells_own_parts(part, tmp_path):
    given, column, text = PARTS[part]
    lab, one = Lab(tmp_path), trial(**given)
    row = lab.run([one]).iloc[0]
    assert row["status"] == "stopped" and row[column] == text
    assert row["train_accuracy"] == lab.history([one])["train_accuracy"].iloc[-1]
    again = Lab(tmp_path).frame()
    pd.testing.assert_series_equal(again.iloc[0], row, check_names=False)
