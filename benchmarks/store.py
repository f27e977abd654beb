"""How long a store of many trials takes to list, to filter and to read, and in what memory.

Run: python benchmarks/store.py [TRIALS]. Makes complete trials with histories of 31 rows in a
temporary folder without training them; prints a Markdown table. Each line is a fresh process, so
that seconds and memory are what a user pays, imports included.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import gengap
from gengap.corruptions import RandomLabels
from gengap.lab import Data, Lab, Model, Trial

EPOCHS = 30
COLUMNS = (
    *("train_loss", "train_accuracy", "clean_accuracy", "corrupted_accuracy", "test_loss"),
    *("test_accuracy", "seconds", "batch_loss"),
)


def history(seed):
    """A history as a frame; its numbers are noise."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"epoch": range(EPOCHS + 1), "step": range(0, 40 * EPOCHS + 1, 40)})
    frame["lr"] = 0.1
    for name in COLUMNS:
        frame[name] = draw.random(EPOCHS + 1)
    return frame


def make(folder, number):
    """Write complete trials as the lab does, but for weights."""
    base = Trial(
        data=Data.named("digits"),
        model=Model.named("mlp"),
        recipe=gengap.Recipe(),
        corruption=RandomLabels(probability=0.5),
    )
    files = []
    for seed in range(8):
        content = io.BytesIO()
        frame = history(seed)
        frame.to_parquet(content, index=False)
        final = {name: float(value) for name, value in frame.iloc[-1].items()}
        result = {"status": "fitted", "reason": "Made up.", "final": final, "group": ""}
        files.append((content.getvalue(), json.dumps({**result, "versions": {}})))
    ids = []
    for seed in range(number):
        trial = replace(base, seed=seed)
        path = Path(folder) / "trials" / trial.id
        path.mkdir(parents=True)
        (path / "trial.json").write_text(json.dumps(trial.spec))
        (path / "history.parquet").write_bytes(files[seed % 8][0])
        (path / "result.json").write_text(files[seed % 8][1])
        ids.append(trial.id)
    return ids


def measured(*words):
    """Seconds by the clock, seconds of computing and most memory (GB) of a fresh process."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    memory = usage.ru_maxrss * 1024 / 1e9
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, memory


def command(folder, *words):
    return measured("-m", "gengap", "runs", *words, "--out", folder)


def script(folder, text):
    code = f"from gengap import Lab; frame = Lab({str(folder)!r}).{text}; assert len(frame)"
    return measured("-c", code)


def change(folder, ids):
    for name in ids[:10]:
        path = Path(folder) / "trials" / name / "result.json"
        path.write_text(path.read_text().replace("Made", "Also made"))


def main(number=10_000):
    folder = tempfile.mkdtemp()
    rows = []
    condition = ("--where", "seed<50", "test_accuracy>0.5")
    try:
        ids = make(folder, number)
        for name in ("`gengap runs list --where ...`, first", "the same, again"):
            rows.append((name, *command(folder, "list", *condition)))
        change(folder, ids)
        rows.append(("ten trials have changed", *command(folder, "list", *condition)))
        rows.append(("`gengap runs list`, all", *command(folder, "list")))
        rows.append(("`lab.frame()`", *script(folder, "frame()")))
        rows.append(("`lab.history()`", *script(folder, "history()")))
        for end in ("parquet", "csv"):
            file = str(Path(folder) / f"table.{end}")
            seen = command(folder, "export", file, "--what", "histories")
            rows.append((f"`gengap runs export histories.{end} --what histories`", *seen))
        assert len(Lab(folder).history()) == number * (EPOCHS + 1)
    finally:
        shutil.rmtree(folder)
    print(f"{number:,} trials\n\n| | seconds | of them computing | memory, GB |")
    print("| --- | ---: | ---: | ---: |")
    for name, wall, cpu, memory in rows:
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {memory:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
