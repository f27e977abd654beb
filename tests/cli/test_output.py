"""Closed form: what is printed, written out by hand; JSON is read back by the standard library."""

import json
import math
from pathlib import Path

import numpy as np
import torch

from gengap.cli._main import main
from gengap.cli._output import print_columns, print_json


def test_json_says_what_it_can(capsys):
    value = {
        "plain": [1, 2.5, "é", True, None],
        "nan": math.nan,
        "infinite": np.float64("inf"),
        "numpy": np.int64(3),
        "torch": torch.tensor(2.0),
        "path": Path("a") / "b",
        4: (1,),
    }
    print_json(value)
    assert json.loads(capsys.readouterr().out) == {
        "plain": [1, 2.5, "é", True, None],
        "nan": None,
        "infinite": None,
        "numpy": 3,
        "torch": 2.0,
        "path": str(Path("a") / "b"),
        "4": [1],
    }


def test_columns_line_up(capsys):
    rows = [
        {"name": "digits", "n": 1437, "share": 0.25, "ok": True},
        {"name": "x", "n": 60000, "share": math.nan, "ok": False},
    ]
    print_columns(rows)
    assert capsys.readouterr().out == (
        "name         n  share   ok\n"
        "digits   1,437   0.25  yes\n"
        "x       60,000          no\n"
    )  # fmt: skip


def test_no_rows_print_nothing(capsys):
    print_columns([])
    assert capsys.readouterr().out == ""


def test_what_a_users_network_prints_is_not_in_the_json(tmp_path, monkeypatch, capsys):
    (tmp_path / "loud.py").write_text(
        "from torch import nn\n\n"
        "class Loud(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        print('shape', x.shape)\n"
        "        return super().forward(x.flatten(1))\n\n"
        "def build():\n"
        "    print('building')\n"
        "    return Loud(64, 10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = "measure loud:build --data digits --examples 40 --names loss --json --out"
    assert main([*words.split(), str(tmp_path / "out")]) == 0
    written = capsys.readouterr()
    assert json.loads(written.out)["measures"]
    assert "building" in written.err and "shape" in written.err
    assert main(["measure", "--json", "--help"]) == 0
    assert "usage" in capsys.readouterr().out
