"""How long `lab.frame()` takes on many trials: first, warm, and after a few have changed.

Run: python benchmarks/store.py [TRIALS]. Makes trials in a temporary folder without training
them; prints a Markdown table.
"""

import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import gengap
from gengap.corruptions import RandomLabels
from gengap.lab import Data, Lab, Model, Trial

FINAL = {
    "epoch": 30,
    "step": 1200,
    "lr": 0.1,
    "train_loss": 0.01,
    "train_accuracy": 1.0,
    "clean_accuracy": 1.0,
    "corrupted_accuracy": None,
    "test_loss": 0.3,
    "test_accuracy": 0.96,
    "seconds": 2.5,
    "batch_loss": 0.011,
}


def make(folder, number):
    """Write complete trials as the lab does, but for tables and weights."""
    base = Trial(
        data=Data.named("digits"),
        model=Model.named("mlp"),
        recipe=gengap.Recipe(),
        corruption=RandomLabels(probability=0.5),
    )
    result = {"status": "fitted", "reason": "Made up.", "final": FINAL, "group": "", "versions": {}}
    ids = []
    for seed in range(number):
        trial = replace(base, seed=seed)
        path = Path(folder) / "trials" / trial.id
        path.mkdir(parents=True)
        (path / "trial.json").write_text(json.dumps(trial.spec))
        (path / "result.json").write_text(json.dumps(result))
        ids.append(trial.id)
    return ids


def seconds(function):
    start = time.perf_counter(), time.process_time()
    value = function()
    return value, time.perf_counter() - start[0], time.process_time() - start[1]


def main(number=10_000):
    folder = tempfile.mkdtemp()
    rows = []
    try:
        ids = make(folder, number)
        for what in ("first", "warm", "ten changed", "warm again"):
            if what == "ten changed":
                for name in ids[:10]:
                    path = Path(folder) / "trials" / name / "result.json"
                    path.write_text(path.read_text().replace("0.96", "0.955"))
            frame, wall, cpu = seconds(Lab(folder).frame)
            assert len(frame) == number
            rows.append((what, wall, cpu))
    finally:
        shutil.rmtree(folder)
    print(f"`lab.frame()` of {number:,} trials\n\n| | seconds | of them computing |\n|---|---|---|")
    for what, wall, cpu in rows:
        print(f"| {what} | {wall:.2f} | {cpu:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
