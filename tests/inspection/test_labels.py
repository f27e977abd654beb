"""Property: labels are ranked, evaluated, shown. Oracles: `fit` by itself, plain facts, files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import gengap
from gengap._errors import GengapError
from gengap.corruptions import AddedNoise, Compose, PairFlip, RandomLabels
from gengap.data import as_split, gaussian_clusters
from gengap.inspection._page import suspicious_table
from gengap.lab import Lab
from gengap.memorization import SCORES, detection, rank_labels
from gengap.training import Probes, Recipe, build_seeded
from tests.training.cases import make_images, make_real, perceptron

CLEAN = gaussian_clusters(120, dim=6, num_classes=3, separation=6.0, seed=1)
RECIPE = Recipe(epochs=4, lr=0.05, batch_size=20)
NOISY = RandomLabels(probability=0.3)(CLEAN, seed=0)


def pictures():
    """Grey images whose brightness is their class; the first is labelled wrongly."""
    images = make_images(n=30, channels=1)
    targets = torch.arange(30) % 3
    inputs = (images.inputs // 8 + (targets * 100)[:, None, None, None]).to(torch.uint8)
    wrong = targets.clone()
    wrong[0] = 1
    names = ("dark", "grey", "bright <b>")
    return as_split(inputs, wrong, class_names=names)


@pytest.fixture(scope="module")
def found():
    return gengap.labels(perceptron, CLEAN, recipe=RECIPE, seeds=2, noise=0.3, top=7)


def test_the_ranking_is_that_of_the_runs_by_themselves(found):
    runs = [
        gengap.fit(perceptron, NOISY, recipe=RECIPE, seed=s, probes=Probes(examples=True))
        for s in (0, 1)
    ]
    expected = rank_labels(NOISY, [run.examples for run in runs])
    shared = found.ranking[expected.columns]
    pd.testing.assert_frame_equal(shared, expected, rtol=1e-4, atol=1e-5)
    assert set(found.ranking) - set(expected) == {"error_norm", "gradient_norm", "misalignment"}


def test_changed_labels_are_known_and_found(found):
    by_row = found.ranking.sort_values("example")
    assert by_row["changed"].tolist() == NOISY.changed.tolist()
    assert by_row["true"].tolist() == CLEAN.targets.tolist()
    assert by_row["given"].tolist() == NOISY.targets.tolist()
    best = found.evaluation.set_index("score")["average_precision"]
    assert set(best.index) == set(SCORES) and best["negative_margin"] > 0.95
    scores = {name: by_row[name].to_numpy() for name in SCORES}
    pd.testing.assert_frame_equal(found.evaluation, detection(scores, by_row["changed"].to_numpy()))


def test_a_corrupted_split_is_evaluated_and_a_clean_one_is_not():
    known = gengap.labels(perceptron, NOISY, recipe=RECIPE, gradients=False)
    assert known.evaluation is not None
    clean = gengap.labels(perceptron, CLEAN, recipe=RECIPE, gradients=False)
    assert clean.evaluation is None
    assert not {"changed", "true", "misalignment"} & set(clean.ranking)


PIXELS = AddedNoise(scale=0.1)


@pytest.mark.parametrize("kind", ["pixels", "both", "all", "undone"])
def test_labels_are_judged_by_the_truth(kind, tmp_path):
    """Noise on the inputs is no wrong label, nor is one that was redrawn to be right again."""
    noisy = {
        "pixels": PIXELS(CLEAN, seed=0),
        "both": Compose(corruptions=(PIXELS, RandomLabels(probability=0.3)))(CLEAN, seed=0),
        "all": PairFlip(probability=1.0)(CLEAN, seed=0),
        "undone": RandomLabels(probability=0.6)(CLEAN, seed=3),
    }[kind]
    noise = 0.5 if kind == "undone" else 0.0
    found = gengap.labels(perceptron, noisy, recipe=RECIPE, gradients=False, noise=noise)
    wrong = (found.split.targets != CLEAN.targets).numpy()
    rows = found.ranking.sort_values("example")
    assert (found.evaluation is None) == (kind in ("pixels", "all"))
    if kind == "pixels":
        assert not {"changed", "true"} & set(rows)
    else:
        assert rows["changed"].tolist() == wrong.tolist()
    if kind in ("both", "undone"):
        scores = {n: rows[n].to_numpy() for n in found.evaluation["score"].sort_values()}
        expected = detection(scores, wrong).sort_values("score", ignore_index=True)
        shown = found.evaluation.sort_values("score", ignore_index=True)
        pd.testing.assert_frame_equal(shown, expected)
        last = found.history.iloc[-1]
        assert last["clean_accuracy"] > 0.5 > last["corrupted_accuracy"]
    if kind == "undone":
        assert (RandomLabels(probability=0.5)(noisy, seed=0).changed.numpy() & ~wrong).any()
    assert found.save(tmp_path / "report.html").exists()


def test_it_ranks_by_the_score_asked_for():
    by = gengap.labels(perceptron, NOISY, recipe=RECIPE, by="misalignment").ranking
    assert by["misalignment"].is_monotonic_decreasing
    assert not by["negative_margin"].is_monotonic_decreasing


@pytest.mark.parametrize(("by", "values", "shown"), [
    ("negative_margin", (7.18, 7.467), ["7.180", "7.467"]),
    ("forgetting", (3.0, 2.0), ["3", "2"]),
])  # fmt: skip
def test_a_score_has_as_many_decimals_in_every_row(by, values, shown):
    columns = {"rank": [1, 2], "example": [5, 3], "given": ["a", "b"], "suggested": ["b", "a"]}
    frame = pd.DataFrame({**columns, "confidence": 0.1, "suggested_confidence": 0.9, by: values})
    frame["learning_time"] = 1.0
    cells = suspicious_table(frame, by=by, top=2).cells()
    assert [row[-1] for row in cells] == shown


def test_what_is_complete_is_not_run_again(tmp_path, monkeypatch):
    lab = Lab(tmp_path)
    ask = {"recipe": RECIPE, "noise": 0.3, "lab": lab}
    first = gengap.labels(perceptron, CLEAN, **ask)
    monkeypatch.setattr(gengap.training.Trainer, "_epoch", None)
    again = gengap.labels(perceptron, CLEAN, **ask)
    assert again.ranking.to_csv() == first.ranking.to_csv()


def test_the_page_shows_pictures_with_both_labels(tmp_path):
    recipe = replace(RECIPE, epochs=60)
    shown = gengap.labels(lambda: perceptron(36), pictures(), recipe=recipe, top=5)
    page = shown.save(tmp_path / "report.html")
    text = page.read_text(encoding="utf-8")
    assert shown.ranking["example"][0] == 0
    assert "0: grey\n→ dark?" in text and "bright &lt;b&gt;" in text and "<b>→" not in text
    assert text.count("data:image/png") >= 5 + 12
    assert (tmp_path / "charts" / "fitted.svg").exists()
    table = pd.read_csv(tmp_path / "labels.csv")
    assert len(table) == 30 and table["rank"].tolist() == list(range(1, 31))
    assert len(pd.read_csv(tmp_path / "tables" / "most-suspicious.csv")) == 5


def test_files_are_named_where_examples_are_files(tmp_path):
    images = pictures()
    for i, label in enumerate(images.targets.tolist()):
        folder = tmp_path / "images" / ("dark", "grey", "light")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.inputs[i, 0].numpy()).save(folder / f"{i:02}.png")
    split = as_split(tmp_path / "images")
    recipe = replace(RECIPE, epochs=60)
    shown = gengap.labels(lambda: perceptron(36), split, recipe=recipe, top=5)
    first = shown.ranking.iloc[0]
    assert first["file"] == "grey/00.png" == split.files[first["example"]]
    text = shown.save(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "00.png: grey\n→ dark?" in text and "grey/00.png" in text
    table = pd.read_csv(tmp_path / "labels.csv")
    assert list(table)[:4] == ["rank", "example", "file", "given"]
    assert table["file"].tolist() == split.files[table["example"]].tolist()


def test_the_page_of_a_table_has_rows_and_the_evaluation(found, tmp_path):
    page = found.save(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/png" not in page
    assert len(pd.read_csv(tmp_path / "tables" / "most-suspicious.csv")) == 7
    for name in ("precision", "recall", "spread-of-negative-margin"):
        frame = pd.read_csv(tmp_path / "charts" / f"{name}.csv")
        assert len(frame) > 10
    shares = pd.read_csv(tmp_path / "charts" / "spread-of-mean-loss.csv")
    assert shares.groupby("labels")["share"].sum().between(0.9, 1 + 1e-9).all()
    first = pd.read_csv(tmp_path / "charts" / "precision.csv")
    count = int(NOISY.changed.sum())
    own = first[(first["score"] == "negative margin") & (first["inspected"] == count)]
    known = found.evaluation.set_index("score")["precision"]["negative_margin"]
    assert own["precision"].item() == pytest.approx(known)
    assert "average precision" in found._repr_html_()


class Mixing(nn.Module):
    """Gives an example another output when others are in its batch."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 3)

    def forward(self, x):
        outputs = self.line(x)
        return outputs - outputs.mean(0)


REFUSED = [
    ({"seeds": 0}, "`seeds` must be"),
    ({"top": 0}, "`top` must be"),
    ({"noise": 1.5}, r"`noise` must lie in \[0, 1\]"),
    ({"by": "margin"}, "`by` must be one of 'negative_margin'"),
    ({"by": "misalignment", "gradients": False}, "`gradients` must be True to rank by"),
    ({"recipe": Recipe(early_stopping=3)}, "`early_stopping` must be None"),
    ({"train": make_real()}, "must have classes"),
    ({"build": lambda: perceptron(7)}, "must take examples of shape"),
    ({"build": Mixing}, "treat every example by itself.*or leave the gradients out"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[text for _, text in REFUSED])
def test_what_cannot_be_is_said_before_training(change, message, monkeypatch):
    monkeypatch.setattr(gengap.training.Trainer, "run", None)
    ask = {"build": perceptron, "train": CLEAN, "recipe": RECIPE, **change}
    with pytest.raises(ValueError, match=message):
        gengap.labels(ask.pop("build"), ask.pop("train"), **ask)


def test_without_gradients_a_network_may_mix_examples():
    assert len(gengap.labels(Mixing, CLEAN, recipe=RECIPE, gradients=False).ranking) == 120


def test_runs_that_diverge_are_left_out_or_said(monkeypatch):
    with pytest.raises(GengapError, match="No run came to an end: seed 0 diverged"):
        gengap.labels(perceptron, CLEAN, recipe=replace(RECIPE, lr=1e30))

    def build():
        model = perceptron()
        if model[-1].weight[0, 0].item() == first:
            with torch.no_grad():
                model[-1].weight[0, 0] = np.inf
        return model

    first = None
    first = build_seeded(build, 0)[-1].weight[0, 0].item()
    found = gengap.labels(build, CLEAN, recipe=RECIPE, seeds=2)
    assert found.trials["status"].tolist() == ["diverged", "stopped"]
    one = gengap.fit(perceptron, CLEAN, recipe=RECIPE, seed=1, probes=Probes(examples=True))
    assert (
        found.ranking["example"].tolist() == rank_labels(CLEAN, [one.examples])["example"].tolist()
    )
