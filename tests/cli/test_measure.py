"""Property: the verb measure, from a store or the user's folder to exit code.

Oracles: `gengap.measures.evaluate` on the same network and examples, plain facts.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gengap
from gengap.cli import main
from gengap.corruptions import Corruption, LabelsFromFile
from gengap.lab import Data, Lab, Model, Trial
from gengap.measures import MEASURES, _evaluate, evaluate
from gengap.studies import plain_pixels

MINE = """
import functools
import gengap
import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))

def load():
    x = draw(90, 6)
    return TensorDataset(x, x[:, :3].argmax(1))

def halves():
    return load(), load()

def build():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

def trained():
    model = nn.Linear(6, 3)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3, 6) * 4)
        model.bias.zero_()
    return model

def broken():
    model = trained()
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    return model

def size(question):
    return gengap.measures.Value(value=float(sum(p.double().square().sum() for p in
                                                 question.risk.params.values())))

def raises(question):
    raise KeyError("nothing")

def measure(name, function, invariant):
    return gengap.measures.Measure(name=name, formula="|w|^2", units="parameters", range="any",
                                   cost="0", invariant=invariant, function=function)

right, wrong = measure("right", size, False), measure("wrong", size, True)
class Held:
    def __call__(self, question):
        return size(question)

def by(function, question):
    return function(question)

space = {"__name__": "nowhere"}
exec("def unread(q): return size(q)", space | {"size": size}, space)
bound = measure("bound", functools.partial(by, size), False)
held, plain = measure("held", Held(), False), measure("plain", functools.partial(size), False)
unread = measure("unread", space["unread"], False)
single = measure("single", lambda q: gengap.measures.Value(value=np.float32(1.5)), False)
bad, clash = measure("bad", raises, False), measure("loss", size, False)

def deep():
    return gengap.training.build_seeded(build, 0)

def leaves():
    raise SystemExit(3)

def number():
    return 3

def fails():
    raise RuntimeError("no weights")

def bare():
    return nn.Flatten()
"""
CHEAP = ["--names", "loss", "accuracy", "gap", "asam", "--no-report"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with a trial on corrupted digits and one on the user's own data."""
    folder = tmp_path_factory.mktemp("store")
    recipe = gengap.Recipe(epochs=2, lr=0.1)
    corruption = gengap.corruptions.RandomLabels(probability=0.3)
    trial = Trial(data=Data.named("digits", examples=300), model=Model.named("mlp", hidden=(8,)),
                  recipe=recipe, corruption=corruption, seed=3)  # fmt: skip
    Lab(folder, workers=1).run([trial])
    return folder, trial


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def written(folder):
    (file,) = folder.glob("gengap-runs/measures/*/measures.csv")
    return pd.read_csv(file, keep_default_na=False)


@pytest.mark.parametrize("file", ["", "weights.safetensors"])
def test_a_trial_is_measured_on_what_it_was_trained_on(file, store, folder, capsys):
    root, trial = store
    place = root / "trials" / trial.id / file
    assert main(["measure", str(place), *CHEAP]) == 0
    train, test = trial.splits()
    assert train.changed.any()
    wanted = evaluate(Lab(root).model(trial), train, test, names=CHEAP[1:5])
    found = written(folder)
    assert found["name"].tolist() == CHEAP[1:5]
    pd.testing.assert_series_equal(found["value"].astype(float), wanted["value"])
    out = capsys.readouterr().out
    assert "On 300 examples" in out and "measures.csv" in out and "Report" not in out


def test_every_measure_of_my_own_network_and_a_report(folder, capsys):
    assert main(["measure", "mine:trained", "--data", "mine:halves", "--examples", "40"]) == 0
    found = written(folder)
    assert found["name"].tolist() == list(MEASURES)
    assert set(found["invariant"]) == {"True", "False", ""}
    (page,) = folder.glob("gengap-runs/measures/*/report.html")
    text = page.read_text(encoding="utf-8")
    assert "keskar_sharpness" in text and "gengap measure mine:trained" in text
    drawn = sorted(file.stem for file in page.parent.glob("charts/*.svg"))
    assert drawn == ["spectrum", "surface"]
    assert "must have units to rescale" in text  # a linear network has no hidden units
    out = capsys.readouterr().out
    assert "On 40 examples" in out and "rescaling changes it" in out and str(page.name) in out


def test_data_read_in_another_way_have_a_folder_of_their_own(folder):
    x = np.random.default_rng(0).normal(1, 3, (40, 6)).astype("float32")
    y = np.arange(40) % 3
    np.savez(folder / "points.npz", x=x, y=y)
    for more in ([], ["--standardize", "dataset"], []):
        command = ["measure", "mine:trained", "--data", "points.npz", "--names", "loss", *more]
        assert main([*command, "--no-charts", "--no-report"]) == 0
    files = list(folder.glob("gengap-runs/measures/*/measures.csv"))
    assert len({float(pd.read_csv(file)["value"].item()) for file in files}) == len(files) == 2


def test_json_and_nothing_else_and_the_same_with_the_same_seed(capsys):
    words = ["measure", "mine:trained", "--data", "mine:load", "--json", "--no-report",
             "--names", "average_sharpness", "keskar_sharpness", "--seed"]  # fmt: skip
    values = []
    for seed in ("1", "1", "2"):
        assert main([*words, seed]) == 0
        found = json.loads(capsys.readouterr().out)
        values.append([row["value"] for row in found["measures"]])
        assert found["examples"] == 72 and found["report"] is None
        assert Path(found["table"]).is_file()
        assert found["measures"][1]["standard_error"] is None
        assert found["measures"][0]["units"] == "nats"
    assert values[0] == values[1] != values[2]


def stopped_at(monkeypatch, name):
    """Let one measure be interrupted; return the names of those that are computed."""
    computed = []

    def row(measure, question):
        computed.append(measure.name)
        if measure.name == name:
            raise KeyboardInterrupt
        return compute(measure, question)

    compute = _evaluate._row
    monkeypatch.setattr(_evaluate, "_row", row)
    return computed


@pytest.mark.parametrize("between", ["nothing", "other weights", "a cut file", "another seed"])
def test_a_stopped_run_goes_on_where_it_was(between, folder, monkeypatch, capsys):
    names = ["loss", "average_sharpness", "trace", "asam"]
    words = ["measure", "mine:trained", "--data", "mine:load", "--no-report", "--names", *names]
    with monkeypatch.context() as patched:
        stopped_at(patched, "trace")
        assert main(words) == 130
    (file,) = folder.glob("gengap-runs/measures/*/unfinished.json")
    assert not list(folder.glob("gengap-runs/measures/*/measures.csv"))
    if between == "other weights":
        (folder / "mine.py").write_text(MINE.replace("* 4", "* 5"))
        sys.modules.pop("mine")
    if between == "a cut file":
        file.write_text(file.read_text()[:-20])
    if between == "another seed":
        words += ["--seed", "1"]
    computed = stopped_at(monkeypatch, None)
    capsys.readouterr()
    assert main(words) == 0
    again = between != "nothing"
    assert computed == (names if again else names[2:])
    assert ("2 measures are kept" in capsys.readouterr().err) != again
    gone_on = written(folder)["value"]
    assert main(words) == 0
    pd.testing.assert_series_equal(written(folder)["value"], gone_on)
    assert file.exists() == (between == "another seed")


def test_a_measure_asked_for_that_has_no_value_is_code_1(capsys):
    words = ["measure", "mine:trained", "--data", "mine:load", "--no-report", "--names"]
    assert main([*words, "loss", "pac_bayes_sigma"]) == 0
    assert main([*words, "loss", "gap", "--data", "digits"]) == 2
    capsys.readouterr()


def test_a_measure_of_my_own_is_measured_beside_the_library_s(folder, capsys):
    words = ["measure", "mine:deep", "--data", "mine:load", "--names", "loss", "mine:right"]
    assert main([*words, "mine:wrong"]) == 0
    found = written(folder).set_index("name")
    import mine

    by_hand = sum(float(p.detach().double().square().sum()) for p in mine.deep().parameters())
    assert float(found.loc["right", "value"]) == pytest.approx(by_hand, rel=1e-12)
    (page,) = folder.glob("gengap-runs/measures/*/report.html")
    assert "|w|^2" in page.read_text(encoding="utf-8")
    drawn = (page.parent / "charts" / "invariances.svg").read_text(encoding="utf-8")
    assert "wrong" in drawn and "path_norm" in drawn
    said = "said to stay when units are rescaled, but changes by a factor of "
    assert said in found.loc["wrong", "note"] and said in capsys.readouterr().out
    assert found.loc["right", "note"] == "" and str(found.loc["wrong", "invariant"]) == "False"


def test_a_measure_of_my_own_that_fails_costs_no_other(folder, capsys):
    words = ["measure", "mine:deep", "--data", "mine:load", "--names", "mine:bad", "loss"]
    assert main([*words, "--no-report"]) == 1
    found = written(folder).set_index("name")
    assert "KeyError" in found.loc["bad", "note"] and float(found.loc["loss", "value"]) > 0
    capsys.readouterr()


@pytest.mark.parametrize("name", ["right", "bound", "held", "plain"])
@pytest.mark.parametrize("edited", [False, True])
def test_an_edited_measure_of_my_own_is_measured_again(edited, name, folder, monkeypatch, capsys):
    words = ["measure", "mine:deep", "--data", "mine:load", "--no-report",
             "--names", f"mine:{name}", "loss"]  # fmt: skip
    with monkeypatch.context() as patched:
        stopped_at(patched, "loss")
        assert main(words) == 130
    if edited:
        (folder / "mine.py").write_text(MINE.replace(".square()", ".abs()"))
    sys.modules.pop("mine")
    computed = stopped_at(monkeypatch, None)
    assert main(words) == 0
    assert computed == ([name, "loss"] if edited else ["loss"])
    capsys.readouterr()


def test_a_measure_whose_code_is_nowhere_to_be_read_is_measured_again(folder, monkeypatch, capsys):
    words = ["measure", "mine:deep", "--data", "mine:load", "--no-report",
             "--names", "mine:unread", "loss"]  # fmt: skip
    with monkeypatch.context() as patched:
        stopped_at(patched, "loss")
        assert main(words) == 130
    computed = stopped_at(monkeypatch, None)
    assert main(words) == 0
    assert computed == ["unread", "loss"]
    capsys.readouterr()


def test_a_value_of_numpy_is_kept_and_written(folder, capsys):
    words = ["measure", "mine:deep", "--data", "mine:load", "--names", "mine:single"]
    assert main([*words, "--no-report", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["measures"]
    assert row["value"] == 1.5


def test_other_data_can_be_measured_on(store, folder, capsys):
    root, trial = store
    place = str(root / "trials" / trial.id)
    words = ["--names", "loss", "--no-report", "--json", "--examples", "all"]
    assert main(["measure", place, "--data", "digits", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    train, _ = gengap.load("digits")
    model = Lab(root).model(trial)
    assert found["examples"] == len(train)
    assert found["measures"][0]["value"] == pytest.approx(gengap.Risk(model, train)())


def test_a_trial_on_data_of_my_own_is_found_again_or_refused(folder, capsys):
    words = ["labels", "--data", "mine:load", "--model", "mine:build", "--seeds", "1",
             "--epochs", "1", "--no-report", "--no-gradients"]  # fmt: skip
    assert main(words) == 0
    (place,) = folder.glob("gengap-runs/trials/*")
    assert main(["measure", str(place), "--data", "mine:load", *CHEAP[:3], "--no-report"]) == 0
    capsys.readouterr()
    (folder / "mine.py").write_text(MINE.replace("manual_seed(0)", "manual_seed(1)"))
    sys.modules.pop("mine")
    assert main(["measure", str(place), *CHEAP]) == 2
    assert "trained with the data 'mine:load'; what that names here is something else" in (
        capsys.readouterr().err
    )


def test_a_trial_of_a_study_is_measured(folder, capsys):
    """On plain pixels, with other initial weights: what its specification tells is enough."""
    data = plain_pixels("digits", examples=120)
    model = Model(
        {"name": "mlp", "options": {"hidden": [8], "weights": "zeros"}},
        lambda split: lambda: gengap.models.mlp(split.input_shape, 10, hidden=(8,)),
    )
    lab, recipe = Lab(folder / "store"), gengap.Recipe(epochs=2)
    trial = Trial(data=data, model=model, recipe=recipe)
    lab.run([trial])
    place = str(folder / "store" / "trials" / trial.id)
    assert main(["measure", place, "--names", "loss", "--no-report", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["measures"][0]["value"]
    assert found == pytest.approx(gengap.Risk(lab.model(trial), data.load()[0])())


LOST = {
    "of one's own": (lambda: (Data.of(*digits(), name="own"), None), "got 'own'"),
    "of a study": (lambda: (Data({"name": "digits", "group": "easy"}, digits), None), "'easy'"),
    "corrupted": (lambda: (Data.named("digits", examples=90), Mine()), "of your own, give the"),
}


def digits():
    return tuple(half[:90] for half in gengap.load("digits"))


@pytest.mark.parametrize("kind", LOST)
def test_a_trial_whose_data_cannot_be_made_again_takes_others(kind, folder, capsys):
    make, why = LOST[kind]
    data, corruption = make()
    lab, model = Lab(folder / "store"), Model.named("mlp", hidden=(8,))
    recipe = gengap.Recipe(epochs=1)
    trial = Trial(data=data, model=model, recipe=recipe, corruption=corruption)
    lab.run([trial])
    place = str(folder / "store" / "trials" / trial.id)
    words = ["measure", place, "--names", "loss", "--no-report", "--json", "--examples", "all"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"`data` must be given, as what trial {trial.id} was trained on" in said and why in said
    assert main([*words, "--data", "digits"]) == 0
    found = json.loads(capsys.readouterr().out)["measures"][0]["value"]
    train, _ = gengap.load("digits")
    assert found == pytest.approx(gengap.Risk(lab.model(trial), train)(), rel=1e-6)


@dataclass(frozen=True, kw_only=True)
class Mine(Corruption):
    def __call__(self, split, /, *, seed):
        return split


def test_the_list_of_measures(capsys):
    assert main(["measure", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in MEASURES)
    assert main(["measure", "--list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(MEASURES)


REFUSED = {
    "": "`MODEL` must be given",
    "nowhere": "which does not exist",
    "mine.py": "`model` must lie in a store, where trial.json tells what it is",
    "mine:trained": "`data` must be given for a network of your own",
    "mine:nothing --data digits": "no 'nothing'",
    "mine:number --data digits": "mine:number returned int",
    "mine:fails --data digits": "mine:fails raised RuntimeError: no weights (mine.py, line ",
    "mine:leaves --data digits": "`model`: mine:leaves raised SystemExit: 3",
    "mine:trained --data digits": "`model` must take examples of shape",
    "mine:broken --data mine:load": "must have finite parameters; 'bias' holds NaN",
    "mine:bare --data mine:load": "must have parameters to train; got none",
    "mine:trained --data mine:load --names flatness": "`names` must be one of",
    "mine:trained --data mine:load --names mine:size": "must name a gengap.measures.Measure; 'min",
    "mine:trained --data mine:load --names mine:no": "`names` is 'mine:no', but there is no 'no'",
    "mine:trained --data mine:load --names mine:clash loss": "two that are called 'loss'",
    "mine:trained --data mine:load --examples 0": "`examples` must be",
    "mine:trained --data mine:load --seed -1": "`seed` must be",
    "mine:trained --data mine:load --out mine.py": "must be a folder that can be written",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_one_sentence_and_code_2(words, capsys):
    assert main(["measure", *words.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert REFUSED[words] in captured.err


def test_edited_weights_and_specifications_are_told(store, tmp_path, capsys):
    root, trial = store
    for name, content in (("trial.json", "{}"), ("weights.safetensors", "x")):
        place = tmp_path / name / "trials" / trial.id
        place.mkdir(parents=True)
        for file in (root / "trials" / trial.id).iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        (place / name).write_text(content)
        assert main(["measure", str(place), *CHEAP]) == 2
        assert "edited" in capsys.readouterr().err


def test_labels_from_a_file_that_was_edited_are_not_those_of_the_trial(tmp_path, capsys):
    labels = gengap.load("digits")[0].targets.numpy()
    np.save(tmp_path / "labels.npy", labels)
    corruption = LabelsFromFile(path=str(tmp_path / "labels.npy"))
    recipe = gengap.Recipe(epochs=1, lr=0.05)
    data, model = Data.named("digits"), Model.named("linear")
    trial = Trial(data=data, model=model, recipe=recipe, corruption=corruption)
    Lab(tmp_path / "runs", workers=1).run([trial])
    np.save(tmp_path / "labels.npy", np.roll(labels, 1))
    assert main(["measure", str(tmp_path / "runs" / "trials" / trial.id)]) == 2
    said = capsys.readouterr().err
    assert "`data` must be given" in said and "the file of its labels holds others now" in said
