"""Closed form: the rules of the study on made-up numbers; twin: a smoke run told twice."""

import pandas as pd
import pytest

from gengap import studies
from gengap._errors import DataError
from gengap.lab import Lab
from gengap.studies._zhang2017_imagenet_claims import claims
from gengap.studies._zhang2017_imagenet_data import imagenet, synthetic
from gengap.studies._zhang2017_imagenet_pictures import tables
from gengap.studies._zhang2017_imagenet_trials import ROWS, entries

SEEDS = (0, 1)


def made_up():
    """The paper's own numbers as ours."""
    rows = []
    for place, row in enumerate(ROWS):
        numbers = {
            "train_accuracy": row.train[0] / 100,
            "train_top5_accuracy": row.train[1] / 100,
            "test_accuracy": row.test[0] / 100,
            "test_top5_accuracy": row.test[1] / 100,
            "best_test_accuracy": (row.best or row.test)[0] / 100,
            "best_test_top5_accuracy": (row.best or row.test)[1] / 100,
        }
        rows += [
            {"row": place, "seed": seed, "status": "stopped", "trial": f"{place}-{seed}", **numbers}
            for seed in SEEDS
        ]
    return pd.DataFrame(rows)


def verdicts(ends, scale="paper"):
    return [claim.verdict for claim in claims(ends, scale)]


def test_the_papers_numbers_support_every_claim():
    assert verdicts(made_up()) == ["supported"] * 8


def test_synthetic_images_say_nothing_about_regularizers():
    assert len(verdicts(made_up(), "smoke")) == 5


@pytest.mark.parametrize(("failing", "row", "column", "value"), [
    ({0}, 4, "train_accuracy", 0.7),
    ({1}, 5, "train_accuracy", 0.7),
    ({2}, 6, "train_accuracy", 0.85),
    ({3}, 6, "test_accuracy", 0.01),
    ({4}, 3, "test_accuracy", 0.4),
    ({5}, 1, "test_accuracy", 0.6),
    ({6, 7}, 3, "test_accuracy", 0.75),
    ({7}, 3, "best_test_accuracy", 0.60),
])  # fmt: skip
def test_every_rule_can_fail_and_one_seed_against_is_inconclusive(failing, row, column, value):
    for seeds, wanted in ((SEEDS, "not supported"), ((0,), "inconclusive")):
        ends = made_up()
        ends.loc[(ends["row"] == row) & ends["seed"].isin(seeds), column] = value
        found = verdicts(ends)
        assert {place for place, one in enumerate(found) if one == wanted} == failing


def test_the_table_holds_the_papers_numbers_beside_ours():
    line = tables(made_up())[0].frame.iloc[3]
    assert line["test top-1 paper"] == "59.80 (63.16)"
    assert line["test top-5 ours"] == "80.38 ± 0.00 (84.49 ± 0.00)"
    assert line["regularizers"] == "none"


def test_trials_at_paper_scale_need_neither_images_nor_torchvision(tmp_path):
    found = entries("paper", (0,), tmp_path)
    assert len({entry.trial.id for entry in found}) == len(ROWS)
    recipe = found[0].trial.recipe
    assert recipe.warmup_steps == 5 * -(-1_281_167 // recipe.batch_size)
    assert found[-1].trial.recipe.dropout == 0.0
    assert found[0].trial.spec["data"] == {"name": "imagenet", "size": 331, "crop": 299}


def test_there_is_no_small_scale(tmp_path):
    with pytest.raises(ValueError, match="`scale` must be one of 'smoke', 'paper'; got 'small'"):
        studies.run("zhang2017-imagenet", "small", lab=Lab(tmp_path))


def test_images_are_asked_for_where_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GENGAP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        DataError, match=r"`imagenet` must be a folder in .* with `train` and `val`"
    ):
        imagenet(size=331, crop=299).load()
    synthetic(tmp_path / "imagenet", classes=2, train=3, test=2, size=12, crop=8).load()
    with pytest.raises(DataError, match=r"must hold 1,281,167 training .* got 6, 4 and 2\."):
        imagenet(size=12, crop=8).load()


def test_synthetic_images_are_streamed_and_the_same_every_time(tmp_path):
    common = {"classes": 3, "train": 4, "test": 2, "size": 12, "crop": 8}
    (train, test), (again, _) = (
        synthetic(tmp_path / name, **common).load() for name in ("one", "other")
    )
    assert (len(train), len(test), train.input_shape) == (12, 6, (3, 8, 8))
    assert not hasattr(train.inputs, "numpy")  # a source: decoded when asked for
    assert train.fingerprint() == again.fingerprint()
    x, _ = next(train.batches(12))
    assert -1 <= x.min() < -0.3 and 0.3 < x.max() <= 1
    assert not list(tmp_path.glob("one.*"))


def test_nothing_run_is_told_as_nothing(tmp_path):
    found = studies.run("zhang2017-imagenet", "smoke", lab=Lab(tmp_path), train=False)
    assert {claim.verdict for claim in found.claims} == {"inconclusive"}
    assert found.charts == []
    assert not (tmp_path / "synthetic-images").exists()


@pytest.mark.slow
def test_a_smoke_run_is_told_again_from_the_store(tmp_path):
    lab = Lab(tmp_path, workers=2)
    found = studies.run("zhang2017-imagenet", "smoke", lab=lab)
    assert len(found.charts) == 4
    assert set(found.tables[0].frame["runs"]) <= {"2 fitted", "1 fitted, 1 stopped", "2 stopped"}
    assert [claim.verdict for claim in found.claims] == ["supported"] * 5
    again = studies.run("zhang2017-imagenet", "smoke", lab=lab, train=False)
    assert again.markdown() == found.markdown()
