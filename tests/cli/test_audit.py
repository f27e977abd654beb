"""Property: the verb audit, from the user's folder to exit code; oracles: files and plain facts."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from gengap.cli import main

MINE = '''
import gengap
import torch
from torch import nn
from torch.utils.data import TensorDataset

def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))

def load():
    """Three classes of non-square grey images, told apart by their brightness."""
    y = torch.arange(240) % 3
    return TensorDataset(draw(240, 1, 6, 9) + (y - 1.0)[:, None, None, None], y)

def build():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 3),
    )

def table():
    x = draw(240, 7)
    return TensorDataset(x, (x[:, 0] > 0).long())

def texts():
    x = torch.randint(0, 9, (240, 4), generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 4).long())

def reader():
    return nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(24, 2))

def ten_outputs():
    return nn.Sequential(nn.Flatten(), nn.Linear(54, 10))

def other_shape():
    return nn.Sequential(nn.Flatten(), nn.Linear(55, 3))

def with_nan():
    x = draw(30, 4)
    x[3, 1] = float("nan")
    return TensorDataset(x, torch.arange(30) % 3)

def empty():
    return TensorDataset(torch.zeros(0, 4), torch.zeros(0).long())

def negative():
    return TensorDataset(draw(30, 4), torch.arange(30) % 3 - 1)

def too_short():
    return TensorDataset(draw(30, 4), torch.arange(30) % 3), (draw(5, 4), torch.arange(4) % 3)

def test_half():
    return gengap.load("digits")[1]

def swapped():
    return gengap.load("digits")[1], gengap.load("digits")[0][:200]

def for_digits():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def raises():
    raise RuntimeError("the disk is on fire")
'''
QUICK = ["--seeds", "2", "--levels", "0.5", "--epochs", "2", "--workers", "1", "--no-report"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def test_my_images_and_my_network(folder, capsys):
    assert main(["audit", "--data", "mine:load", "--model", "mine:build", *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "random labels" in shown and "Tables: " in shown and "Report" not in shown
    (results,) = folder.glob("gengap-runs/audits/*/results.csv")
    assert len(pd.read_csv(results)) == 12


@pytest.mark.parametrize("data", ["digits", "mine:table"])
def test_as_many_test_examples_as_asked_for(data, folder):
    words = ["--data", data, "--examples", "60", "--test-examples", "17", "--probe", "0", *QUICK]
    assert main(["audit", *words]) == 0
    (results,) = folder.glob("gengap-runs/audits/*/results.csv")
    right = pd.read_csv(results)["test_accuracy"] * 17
    assert len(right) and np.allclose(right, right.round(), atol=1e-6)
    assert set(right.round()) != {0, 17}


@pytest.mark.parametrize("data", ["mine:test_half", "mine:swapped"])
def test_labels_are_redrawn_whatever_half_my_split_says_it_is(data, capsys):
    words = ["audit", "--data", data, "--model", "mine:for_digits", "--json"]
    assert main([*words, *QUICK]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    redrawn = [row for row in rows if row["data_set"] == "random labels"]
    assert redrawn and all(row["corrupted_accuracy"] is not None for row in redrawn)


def test_my_texts(capsys):
    words = ["--data", "mine:texts", "--model", "mine:reader", "--tokens", "--json", *QUICK]
    assert main(["audit", *words]) == 0
    found = {row["data_set"] for row in json.loads(capsys.readouterr().out)["results"]}
    assert "shuffled tokens" in found
    assert "Gaussian noise" not in found


def test_my_table_and_the_perceptron_as_json(capsys):
    assert main(["audit", "--data", "mine:table", "--model", "mlp", "--json", *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["data_set"] for row in found["results"]} >= {"shuffled features", "Gaussian noise"}
    assert all(set(claim) >= {"sentence", "rule", "verdict"} for claim in found["claims"])


def test_the_report_is_written_and_regularizers_are_compared(folder):
    words = ["--weight-decay", "0.001", "--augment", "crop", "flip", *QUICK[:-1]]
    assert main(["audit", "--data", "mine:load", "--model", "mine:build", *words]) == 0
    (page,) = folder.glob("gengap-runs/audits/*/report.html")
    text = page.read_text()
    assert "without regularizers" in text and "regularizers help" in text
    assert (page.parent / "charts" / "train-loss.svg").exists()


REFUSED = {
    "--data mine:load --model mine:ten_outputs": "`model` must give 3 outputs",
    "--data mine:load --model mine:other_shape": "must take examples of shape",
    "--data mine:with_nan": "must be finite; got 1 NaN",
    "--data mine:empty": "must hold at least one example",
    "--data mine:negative": "must be at least 0; got -1",
    "--data mine:too_short": "5 examples and 4 targets",
    "--data mine:texts --model mine:reader": "read them with `gengap.data.as_split(",
    "--tokens": "`standardize`, `classes`, `tokens` and `size` are for data from outside",
    "--data mine:load --classes 2": "must lie in 0..1",
    "--data mine:raises": "RuntimeError: the disk is on fire",
    "--data mine:nothing": "there is no 'nothing' in it",
    "--data yours:load": "neither in the current folder",
    "--data digit": "did you mean 'digits'?",
    "--data mnist": "gengap data get mnist",
    "--model mlpp": "did you mean 'mlp'?",
    "--model-options hiden=3": "must be among hidden",
    "--lr -1": "`lr` must be positive",
    "--levels 1.5": "`levels` must lie between",
    "--dropout 2": "`dropout` must lie in [0, 1]",
    "--examples 100000": "`examples` must be at most",
    "--test-examples 100000": "`test_examples` must be at most",
    "--seeds 0": "`seeds` must be",
    "--probe -1": "`probe` must be",
    "--device cuda": "`device` must be",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_one_sentence_and_code_2(words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GENGAP_DATA", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["audit", *words.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert REFUSED[words] in captured.err


def test_a_run_that_diverges_is_code_1(capsys):
    assert main(["audit", *QUICK, "--lr", "1e30"]) == 1
    assert "diverged: true labels, seed 0: The loss is not finite" in capsys.readouterr().out


def test_it_goes_on_where_it_stopped(capsys, folder):
    """Oracle: the results file of the first time, to the byte."""
    assert main(["audit", *QUICK]) == 0
    (results,) = folder.glob("gengap-runs/audits/*/results.csv")
    first = results.read_bytes()
    results.unlink()
    assert main(["audit", *QUICK]) == 0
    assert results.read_bytes() == first


def test_python_minus_m_is_the_same_command(folder):
    done = subprocess.run(
        [sys.executable, "-m", "gengap", "audit", "--levels", "2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 2
    assert done.stdout == ""
