"""Property: the verb labels, from the user's folder to exit code; oracles: files, plain facts."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gengap._errors import UsageError
from gengap.cli import main
from gengap.cli._labels import LabelsOptions
from gengap.cli._options import parse
from gengap.training import Recipe, Trainer

MINE = '''
import sys
import torch
from torch import nn
from torch.utils.data import TensorDataset

def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))

def load():
    """Three classes of grey images, each bright in its rows; example 7 is labelled wrong."""
    y = torch.arange(120) % 3
    x = draw(120, 1, 6, 9) / 4 + (torch.arange(6) // 2 == y[:, None])[:, None, :, None]
    y[7] = 0
    return TensorDataset(x, y)

def halves():
    return load(), load()

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(54, 3))

def real():
    return draw(30, 4), draw(30)

def other_shape():
    return nn.Sequential(nn.Flatten(), nn.Linear(55, 3))

def leave():
    sys.exit(3)

def counts():
    return TensorDataset(torch.arange(40).view(20, 2) % 7, torch.arange(20) % 2)

def tokens():
    return nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 2))

def table():
    x = draw(60, 7)
    return TensorDataset(x, (x[:, 0] > 0).long())
'''
OWN = ["--data", "mine:load", "--model", "mine:build"]
QUICK = ["--seeds", "1", "--epochs", "4", "--batch-size", "16", "--no-report"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def ranked(folder):
    (file,) = folder.glob("gengap-runs/labels/*/labels.csv")
    return pd.read_csv(file)


@pytest.mark.parametrize("data", ["mine:load", "mine:halves"])
def test_every_label_of_mine_is_ranked_the_wrong_one_first(data, folder, capsys):
    assert main(["labels", "--data", data, "--model", "mine:build", *QUICK]) == 0
    found = ranked(folder)
    assert len(found) == 120
    assert found.loc[0, ["example", "given", "suggested"]].tolist() == [7, 0, 1]
    assert "All labels:" in capsys.readouterr().out


def test_images_of_several_sizes_are_brought_to_one(folder, capsys):
    for k in range(20):
        place = folder / "photos" / "ab"[k % 2] / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9 + k, 12), (255 * (k % 2), 90, 10 * k)).save(place)
    words = ["labels", "--data", "photos", *QUICK]
    assert main(words) == 2
    assert "Give `--size` to bring all to one size" in capsys.readouterr().err
    assert main([*words, "--size", "8", "9", "7"]) == 2
    assert "`size` must be a side, or height and width" in capsys.readouterr().err
    assert main([*words, "--size", "8", "10"]) == 0
    assert sorted(ranked(folder)["file"])[:2] == ["a/0.png", "a/10.png"]


def test_labels_of_one_class_get_a_sentence_that_names_the_option(folder, capsys):
    np.savez(folder / "one.npz", x=np.zeros((4, 3), "f"), y=np.zeros(4, int))
    assert main(["labels", "--data", "one.npz", *QUICK]) == 2
    assert "got only 0. Give `--classes` if there are more" in capsys.readouterr().err


def test_what_is_clipped_can_be_said_of_what_clips(capsys):
    clips = ["labels", *OWN, *QUICK, "--clip-percent", "20", "--json"]
    assert main([*clips, "--optimizer", "winsorized_sgd"]) == 0
    assert json.loads(capsys.readouterr().out)["specification"]["recipe"]["clip_percent"] == 20
    for verb in (clips, ["audit", "--clip-percent", "3"]):
        assert main(verb) == 2
        assert "`clip_percent` goes with winsorized_sgd and" in capsys.readouterr().err


def test_a_table_with_noise_as_json(folder, capsys):
    words = ["--data", "mine:table", "--noise", "0.4", "--top", "3", "--by", "mean_loss", "--json"]
    assert main(["labels", *words, *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in found["suspicious"]] == [1, 2, 3]
    losses = [row["mean_loss"] for row in found["suspicious"]]
    assert losses == sorted(losses, reverse=True)
    assert {row["score"] for row in found["evaluation"]} >= {"negative_margin", "misalignment"}
    assert found["report"] is None and pd.read_csv(found["labels"])["changed"].any()


def test_the_report_is_written_and_the_terminal_says_where(folder, capsys):
    assert main(["labels", *OWN, *QUICK[:-1], "--top", "4"]) == 0
    (page,) = folder.glob("gengap-runs/labels/*/report.html")
    assert "7: 0\n→ 1?" in page.read_text(encoding="utf-8")
    assert str(page.name) in capsys.readouterr().out


def test_it_goes_on_where_it_stopped_and_says_so_with_130(folder, capsys, monkeypatch):
    def stops(self, on_end):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_epoch", stops)
        assert main(["labels", *OWN, *QUICK]) == 130
    assert "goes on where it stopped" in capsys.readouterr().err
    assert main(["labels", *OWN, *QUICK]) == 0
    first = ranked(folder)
    monkeypatch.setattr(Trainer, "_epoch", stops)
    assert main(["labels", *OWN, *QUICK]) == 0
    pd.testing.assert_frame_equal(ranked(folder), first)


REFUSED = {
    "--data mine:load --model mine:other_shape": "must take examples of shape",
    "--data mine:real": "must be whole numbers or strings",
    "--data digit": "did you mean 'digits'?",
    "--data yours:load": "neither in the current folder",
    "--noise 2": "`noise` must lie in [0, 1]",
    "--by margin": "`by` must be one of",
    "--by misalignment --no-gradients": "`gradients` must be True",
    "--data mine:leave": "`data`: mine:leave raised SystemExit: 3",
    "--data mine:load --model mine:leave": "`model`: mine:leave raised SystemExit: 3",
    "--model sklearn.svm:LinearSVC": "must have predict_proba where it is an estimator; got Lin",
    "--data mine:counts --model mine:tokens": "or with `--tokens` on the command line.",
    "--top 0": "`top` must be",
    "--seeds 0": "`seeds` must be",
    "--epochs 0": "`epochs` must be",
    "--lr -1": "`lr` must be positive",
    "--examples 100000": "`examples` must be at most",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_one_sentence_and_code_2(words, capsys):
    assert main(["labels", *words.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert REFUSED[words] in captured.err


def test_a_run_that_diverges_is_one_sentence_and_code_2(capsys):
    assert main(["labels", *QUICK, "--lr", "1e30"]) == 2
    assert "No run came to an end: seed 0 diverged" in capsys.readouterr().err


def test_options_are_read():
    def read(words):
        return parse(LabelsOptions, words.split(), program="gengap labels")

    assert read("") == LabelsOptions()
    assert read("").recipe() == Recipe(epochs=10, lr=0.1)
    assert read("--data mnist").recipe() == Recipe(epochs=10, lr=0.01)
    options = read("--optimizer adam --lr 0.001 --batch-size 32 --momentum 0.8 --weight-decay 0.1")
    assert options.recipe() == Recipe(
        epochs=10, batch_size=32, optimizer="adam", lr=0.001, momentum=0.8, weight_decay=0.1
    )
    with pytest.raises(UsageError, match="blur"):
        read("--optimizer blur")


def test_help_names_every_score(folder):
    done = subprocess.run(
        [sys.executable, "-m", "gengap", "labels", "--help"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0
    for name in ("negative_margin", "mean_loss", "misalignment", "--noise", "--top"):
        assert name in done.stdout


def test_a_path_that_is_not_there_is_told_with_what_is(folder, capsys):
    (folder / "photos").mkdir()
    for text, hint in (
        ("photo/", "; did you mean 'photos'?"),
        ("nowhere/x.npz", "'nowhere/x.npz'."),
    ):
        assert main(["labels", "--data", text]) == 2
        said = capsys.readouterr().err
        assert "`data` must be a path that exists" in said and hint in said
