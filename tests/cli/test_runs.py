"""Twin: the verbs print what the lab returns for a store of three small trials."""

import json

import pandas as pd
import pytest

from gengap.cli import main
from gengap.corruptions import RandomLabels
from gengap.data import gaussian_clusters
from gengap.lab import Data, Lab, Model, Trial
from gengap.training import Probes, Recipe


def trials():
    halves = [
        gaussian_clusters(30, dim=3, num_classes=2, separation=3.0, seed=0, half=half)
        for half in ("train", "test")
    ]
    return [
        Trial(
            data=Data.of(*halves, name="clusters"),
            model=Model.named("linear"),
            recipe=Recipe(epochs=2, batch_size=10),
            corruption=corruption,
            seed=seed,
            probes=Probes(coherence=10, examples=True) if corruption else None,
        )
        for corruption, seed in ((None, 0), (None, 1), (RandomLabels(probability=0.5), 0))
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "store"
    Lab(folder, lanes=1, workers=1).run(trials())
    return folder


@pytest.fixture
def run(store, capsys):
    def call(*words):
        code = main(["runs", *map(str, words), "--out", str(store)])
        return code, *capsys.readouterr()

    return call


def test_list_has_a_line_a_trial(run, store):
    code, out, err = run("list")
    lines = out.splitlines()
    assert (code, err, len(lines)) == (0, "", 4)
    assert lines[0].split()[:2] == ["trial", "status"]
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(t.id for t in trials())


def test_list_as_json_is_the_frame(run, store):
    code, out, _ = run("list", "--json")
    rows = json.loads(out)
    frame = Lab(store).frame()
    assert code == 0
    assert [row["trial"] for row in rows] == list(frame["trial"])
    assert [row["test_accuracy"] for row in rows] == list(frame["test_accuracy"])


def test_show_takes_the_beginning_of_an_id(run, store):
    trial = trials()[2]
    code, out, _ = run("show", trial.id[:10])
    assert code == 0
    assert f"trial: {trial.id}" in out
    assert "specification.corruption.probability: 0.5" in out
    assert out.splitlines()[-1].split()[0] == "2"  # the last epoch


def test_show_as_json_holds_specification_and_history(run, store):
    trial = trials()[0]
    code, out, _ = run("show", trial.id, "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["specification"] == trial.spec
    assert [row["epoch"] for row in shown["history"]] == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
@pytest.mark.parametrize("what", ["trials", "histories"])
def test_export_writes_what_the_lab_returns(run, store, tmp_path, suffix, what):
    file = tmp_path / "new folder" / f"table{suffix}"
    code, out, _ = run("export", file, "--what", what)
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".json": pd.read_json}[suffix]
    want = Lab(store).frame() if what == "trials" else Lab(store).history()
    got = read(file)
    assert code == 0
    assert out == f"{file}: {len(want)} rows\n"
    assert list(got.columns) == list(want.columns)
    assert list(got["trial"]) == list(want["trial"])
    pd.testing.assert_series_equal(
        got["test_accuracy"], want["test_accuracy"], check_exact=False, rtol=1e-9
    )


def test_export_writes_what_probes_have_measured(run, store, tmp_path):
    (probed,) = [trial for trial in trials() if trial.probes]
    for what, want in (
        ("coherence", Lab(store).coherence([probed])),
        ("examples", Lab(store).examples(probed).assign(trial=probed.id)),
    ):
        file = tmp_path / f"{what}.parquet"
        assert run("export", file, "--what", what)[0] == 0
        pd.testing.assert_frame_equal(pd.read_parquet(file), want)


def test_list_shows_what_is_asked_for(run, store):
    seeds = {trial.id: trial.seed for trial in trials()}
    code, out, _ = run("list", "--where", "seed=0", "corruption=none", "--columns", "trial", "seed")
    (line,) = out.splitlines()[1:]
    assert (code, line.split()[1]) == (0, "0")
    assert seeds[line.split()[0]] == 0
    assert run("list", "--where", "seed>7")[1] == f"No such trials in {store}.\n"
    rows = json.loads(run("list", "--where", "seed=1", "--json")[1])
    assert [row["trial"] for row in rows] == [t for t, seed in seeds.items() if seed == 1]


@pytest.mark.parametrize("what", ["trials", "histories", "coherence", "examples"])
def test_export_of_some_trials(run, store, tmp_path, what):
    file, probed = tmp_path / "some.parquet", trials()[2].id
    assert run("export", file, "--what", what, "--where", "corruption~labels")[0] == 0
    assert set(pd.read_parquet(file)["trial"]) == {probed}


def test_export_to_latex_has_a_row_a_trial(run, tmp_path):
    file = tmp_path / "table.tex"
    assert run("export", file)[0] == 0
    text = file.read_text()
    assert "trial & status & data & model & corruption & seed & epoch & train\\_accuracy" in text
    assert text.count("clusters") == 3
    assert run("export", file, "--columns", "seed", "test_accuracy")[0] == 0
    assert "seed & test\\_accuracy" in file.read_text()


def test_histories_of_unlike_trials_stand_one_under_the_other(store):
    lab = Lab(store)
    whole = lab.history()
    for trial in trials():
        alone = lab.store.history(trial.id)
        part = whole[whole["trial"] == trial.id].reset_index(drop=True)
        pd.testing.assert_frame_equal(part[alone.columns], alone)
    assert whole.loc[whole["trial"] == trials()[0].id, "learned"].isna().all()


def test_a_table_that_no_trial_has_is_refused(tmp_path, capsys):
    Lab(tmp_path / "store", lanes=1, workers=1).run(trials()[:1])
    words = ["export", str(tmp_path / "t.csv"), "--what", "examples"]
    assert main(["runs", *words, "--out", str(tmp_path / "store")]) == 2
    assert "none has examples" in capsys.readouterr().err
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "zzz"], "none begins 'zzz'"),
        (["show", ""], "3 begin ''"),
        (["list", "--where", "sede=3"], "did you mean 'seed'?"),
        (["list", "--columns", "sede"], "did you mean 'seed'?"),
        (["export", "table.csv", "--where", "seed>100"], "where that is so; none has trials"),
        (["export", "table.xlsx"], "`file` must end in .csv, .parquet, .json"),
        (["show"], "Missing: TRIAL"),
    ],
)
def test_what_is_wrong_is_one_sentence(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_an_empty_store_is_no_error_and_is_not_made(capsys, tmp_path):
    folder = tmp_path / "nothing"
    assert main(["runs", "list", "--out", str(folder)]) == 0
    assert capsys.readouterr().out == f"No trials in {folder}.\n"
    assert main(["runs", "list", "--out", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["runs", "export", str(tmp_path / "t.csv"), "--out", str(folder)]) == 2
    assert not folder.exists()


def test_a_damaged_trial_is_a_row_and_the_others_stay(run, store):
    trial = trials()[1]
    file = store / "trials" / trial.id / "trial.json"
    whole = file.read_text()
    result = store / "trials" / trial.id / "result.json"
    stamp = result.read_text()
    try:
        file.write_text(whole[:20])
        result.write_text(stamp + "\n")  # the index follows the result
        code, out, _ = run("list", "--json")
        status = {row["trial"]: row["status"] for row in json.loads(out)}
        assert code == 0
        assert status[trial.id] == "damaged"
        assert "damaged" not in {status[t.id] for t in trials() if t.id != trial.id}
        code, out, _ = run("show", trial.id)
        assert code == 0
        assert "cut off" in out
    finally:
        file.write_text(whole)
        result.write_text(stamp)
