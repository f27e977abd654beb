"""A made-up audit, 10 data sets x 3 seeds x 40 epochs, for the tests and for looking at."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from gengap.report import (
    Axis,
    Claim,
    Command,
    Gallery,
    KeyNumbers,
    Measured,
    Report,
    Section,
    Specification,
    Table,
    curves,
    dots,
    versions,
)

LEVELS = {"true labels": 0.0, **{f"labels {p} random": p for p in (0.2, 0.4, 0.6, 0.8)}}
LEVELS["random labels"] = 1.0
NAMES = [*LEVELS, "shuffled pixels", "random pixels", "gaussian pixels", "<b>noise</b> & more"]
SPEED = dict(zip(NAMES, (0.5, 0.34, 0.27, 0.22, 0.19, 0.17, 0.4, 0.45, 0.6, 0.3), strict=True))


def history() -> pd.DataFrame:
    """Return made-up histories: loss and accuracies by data set, seed and epoch."""
    draw = np.random.default_rng(0)
    rows = []
    for name in NAMES:
        test = 0.97 - 0.87 * LEVELS.get(name, 0.1) ** 1.2
        for seed in range(3):
            speed = SPEED[name] * draw.uniform(0.9, 1.1)
            for epoch in range(41):
                fit = 1 - np.exp(-((speed * epoch / 2.2) ** 2))
                train = 0.1 + 0.9 * fit
                rows.append({
                    "data set": name,
                    "seed": seed,
                    "epoch": epoch,
                    "train_loss": 2.3 * np.exp(-((speed * epoch / 2) ** 1.4)) + 0.002,
                    "train_accuracy": min(1.0, train + draw.normal(0, 0.004)),
                    "test_accuracy": 0.1 + (test - 0.1) * fit + draw.normal(0, 0.006),
                })
    return pd.DataFrame(rows)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a data set and seed: level, epochs to fit, accuracies at the end."""
    rows = []
    for (name, seed), part in frame.groupby(["data set", "seed"], sort=False):
        last = part.iloc[-1]
        fitted = part.loc[part["train_accuracy"] >= 0.99, "epoch"]
        rows.append({
            "data set": name,
            "seed": seed,
            "level": LEVELS.get(str(name), np.nan),
            "epochs to fit": fitted.min() if len(fitted) else np.nan,
            "train accuracy": last["train_accuracy"],
            "test accuracy": last["test_accuracy"],
        })
    return pd.DataFrame(rows)


def table(ends: pd.DataFrame) -> Table:
    """Return the table of the audit."""
    rows = []
    for name, part in ends.groupby("data set", sort=False):
        measured = {
            column: Measured.of(part[column])
            for column in ("train accuracy", "test accuracy", "epochs to fit")
        }
        gap = Measured.of(part["train accuracy"] - part["test accuracy"])
        rows.append({"data set": name, **measured, "gap": gap})
    share = {column: ".1%" for column in ("train accuracy", "test accuracy", "gap")}
    return Table(
        name="audit",
        frame=pd.DataFrame(rows),
        title="Fit, gap and speed",
        caption="Mean ± standard deviation over 3 seeds.",
        formats=share | {"epochs to fit": ".1f"},
        group="data set",
    )


def charts(frame: pd.DataFrame, ends: pd.DataFrame) -> list:
    """Return the three linked charts."""
    common = {"group": "data set", "groups": NAMES}
    levels = ends[ends["level"].notna()]
    return [
        curves(
            frame,
            x="epoch",
            y=Axis("train_loss", title="Train loss (nats)"),
            name="train-loss",
            title="Every data set is fitted, at its own pace",
            caption="Mean over 3 seeds; the band runs from the lowest to the highest.",
            **common,
        ),
        dots(
            levels,
            x=Axis("level", title="Share of labels redrawn", percent=True),
            y=Axis("epochs to fit", title="Epochs to fit"),
            name="time-to-fit",
            title="More random labels take longer",
            caption="First epoch with a train accuracy of at least 99%.",
            connect="all",
            **common,
        ),
        dots(
            levels,
            x=Axis("level", title="Share of labels redrawn", percent=True),
            y=Axis("test accuracy", title="Test accuracy", percent=True, domain=(0, 1)),
            name="test-accuracy",
            title="and leave less that generalizes",
            connect="all",
            rules={"chance": 0.1},
            **common,
        ),
    ]


def gallery() -> Gallery:
    """Return example images of a few data sets, one of them tabular."""
    draw = np.random.default_rng(1)
    blobs = np.zeros((8, 1, 12, 8), dtype=np.uint8)
    for place in range(8):
        blobs[place, 0, 2:10, 2 + place % 3] = 230
        blobs[place, 0, 2 + place, 2:7] = 180
    order = draw.permutation(96)
    shuffled = blobs.reshape(8, -1)[:, order].reshape(blobs.shape)
    captions = [f"label {place} → {draw.integers(10)}" for place in range(8)]
    return Gallery(
        name="examples",
        rows=[
            ("true labels", blobs, [f"label {place}" for place in range(8)]),
            ("random labels", blobs, captions),
            ("shuffled pixels", shuffled),
            ("gaussian pixels", draw.normal(size=(8, 3, 12, 8))),
            ("<b>noise</b> & more", draw.normal(size=(3, 40)), ["<i>a</i>", "b", "c"]),
        ],
        title="What the network was shown",
        caption="The first examples of each data set.",
    )


CLAIMS = [
    Claim(
        name="Fits random labels",
        sentence="The network reaches 100.0% train accuracy on random labels in 3 of 3 seeds.",
        rule="supported if every seed reaches at least 99% train accuracy on random labels",
        verdict="supported",
        paper="99.34%",
        ours="100.0 ± 0.0%",
    ),
    Claim(
        name="Learns nothing from them",
        sentence="Test accuracy on random labels is 10.1%, at chance.",
        rule="supported if the mean lies within 5 points of chance",
        verdict="supported",
        paper="10.61%",
        ours="10.1 ± 0.5%",
    ),
    Claim(
        name="Random pixels are fitted sooner than random labels",
        sentence="Random pixels take 9.3 epochs, random labels 21.0.",
        rule="supported if every seed agrees, not supported if every seed disagrees",
        verdict="not supported",
    ),
    Claim(
        name="Weight decay helps",
        sentence="With `weight_decay=5e-4` test accuracy changes by 0.2 ± 0.4 points.",
        rule="inconclusive if the change is smaller than two standard errors",
        verdict="inconclusive",
    ),
]


def sample() -> Report:
    """Return the whole made-up report."""
    frame = history()
    ends = summary(frame)
    recipe = {"epochs": 40, "optimizer": "sgd", "lr": 0.1, "schedule": {"kind": "step", "at": [10]}}
    return Report(
        title="Does mlp-512 memorize digits?",
        lead="An audit by randomization: the same network and recipe on true, partly redrawn and "
        "random labels, and on damaged pixels.\n\nIt fits everything, so `capacity` alone "
        "explains nothing.",
        sections=[
            Section(
                title="In short",
                items=[
                    KeyNumbers(
                        numbers=[
                            ("100.0%", "train accuracy on random labels"),
                            ("97.0%", "test accuracy on true labels"),
                            ("2.9 ×", "as many epochs for random labels"),
                            ("0.99", "Rademacher complexity, at least"),
                        ]
                    ),
                    *CLAIMS,
                ],
            ),
            Section(
                title="Curves",
                lead="Choose a data set to follow it through every chart and table.",
                items=charts(frame, ends),
            ),
            Section(title="Table", items=[table(ends)]),
            Section(title="Examples", items=[gallery()]),
            Section(
                title="Made again",
                items=[
                    Command(line=["gengap", "audit", "--data", "digits", "--model", "mlp"]),
                    Specification(
                        content={
                            "data": "digits",
                            "recipe": recipe,
                            "odd": "</script><script>alert(1)</script>",
                            "trials": [{"seed": seed, "level": 0.5} for seed in range(3)],
                        },
                        title="Specification",
                    ),
                    Specification(content=versions(), title="Versions"),
                ],
            ),
        ],
    )


if __name__ == "__main__":
    print(sample().save(Path(sys.argv[1]) / "report.html"))
