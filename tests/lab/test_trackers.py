"""Twin: what trackers hold after a sweep, read back by their own libraries. Oracle: the store."""

import json
import os
import subprocess
import sys

import pytest

from gengap.lab import Lab, LocalEngine
from tests.lab.sweep import sweep

pytest.importorskip("tensorboard")
pytest.importorskip("mlflow")
pytest.importorskip("wandb")

pytestmark = [
    pytest.mark.global_rng,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Four trials, one of which diverges, run in two halves under all three trackers."""
    folder = tmp_path_factory.mktemp("tracked")
    trials = sweep(3, seeds=(1,))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
            patch.delenv(name)
        for asked in (trials[:2], trials, trials):
            lab = Lab(
                folder,
                engine=LocalEngine(1),
                device="cpu",
                track=["tensorboard", "mlflow", "wandb"],
            )
            lab.run(asked)
    return lab, trials


def finals(lab, trial):
    """The final numbers of a trial by the name that trackers give them, and its last row."""
    final = lab.store.result(trial.id)["final"]
    return {f"final/{name}": value for name, value in final.items() if value is not None}


def test_tensorboard_shows_what_the_store_holds(swept):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lab, trials = swept
    folders = {
        p.name.rsplit("-", 1)[-1]: p for p in (lab.store.files.local / "tensorboard").iterdir()
    }
    assert sorted(folders) == sorted(trial.id for trial in trials)
    for trial in trials:
        events = EventAccumulator(str(folders[trial.id]))
        events.Reload()
        for name, value in finals(lab, trial).items():
            assert events.Scalars(name)[-1].value == pytest.approx(value, rel=1e-6)
        history = lab.store.history(trial.id).dropna(subset="train_loss")
        shown = events.Scalars("train_loss")
        assert [event.step for event in shown] == history["step"].tolist()
        assert [event.value for event in shown] == pytest.approx(history["train_loss"], rel=1e-6)
        assert "specification/text_summary" in events.Tags()["tensors"]
        assert "_hparams_/session_start_info" in events.summary_metadata


def test_tensorboard_has_the_settings_as_hyperparameters(swept):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    lab, trials = swept
    (folder,) = (lab.store.files.local / "tensorboard").glob(f"*-{trials[3].id}")
    events = EventAccumulator(str(folder))
    events.Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    shown = HParamsPluginData.FromString(content).session_start_info.hparams
    assert shown["recipe.lr"].number_value == 0.1
    assert shown["seed"].number_value == 1
    assert shown["corruption"].string_value == "ShuffledPixels()"


def test_mlflow_shows_what_the_store_holds(swept):
    from mlflow import MlflowClient

    lab, trials = swept
    client = MlflowClient(f"sqlite:///{lab.store.files.local / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("gengap").experiment_id
    runs = {run.data.tags["gengap.trial"]: run for run in client.search_runs([experiment])}
    assert len(client.search_runs([experiment])) == len(trials)
    for trial in trials:
        run = runs[trial.id]
        assert run.info.status == "FINISHED"
        shown = {k: v for k, v in run.data.metrics.items() if k.startswith("final/")}
        assert shown == finals(lab, trial)
        history = lab.store.history(trial.id).dropna(subset="train_loss")
        points = client.get_metric_history(run.info.run_id, "train_loss")
        assert [(p.step, p.value) for p in points] == list(
            zip(history["step"], history["train_loss"], strict=True)
        )
        assert run.data.params["recipe.lr"] == str(trial.recipe.lr)
        assert json.loads(run.data.tags["gengap.specification"]) == trial.spec


def read_wandb(path):
    """The records of an offline run, by wandb's own reader."""
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def test_wandb_shows_what_the_store_holds(swept):
    lab, trials = swept
    folder = lab.store.files.local / "wandb"
    assert len(list(folder.iterdir())) == len(trials)
    for trial in trials[:2]:
        (file,) = folder.glob(f"offline-run-*-{trial.id}/run-{trial.id}.wandb")
        records = read_wandb(file)
        run = next(record["run"] for record in records if "run" in record)
        assert (run["run_id"], run["project"]) == (trial.id, "gengap")
        assert run["config"]["update"]["specification"] == trial.spec
        assert run["config"]["update"]["recipe.lr"] == trial.recipe.lr
        rows = [record["history"]["item"] for record in records if "history" in record]
        history = lab.store.history(trial.id)
        assert [row["_step"] for row in rows] == history["step"].tolist()
        shown = [row.get("train_loss") for row in rows]
        assert (
            shown
            == history["train_loss"]
            .astype(object)
            .where(history["train_loss"].notna(), None)
            .tolist()
        )
        summary = {}
        for record in records:
            summary |= record.get("summary", {}).get("update", {})
        assert {k: v for k, v in summary.items() if k.startswith("final/")} == finals(lab, trial)
        assert summary["status"] == lab.store.result(trial.id)["status"]


def test_a_try_that_was_cut_off_is_replaced(swept, tmp_path):
    from gengap.lab._mlflow import MLflow
    from gengap.lab._tracking import Tracked

    lab, trials = swept
    tracker = MLflow(tmp_path)
    client = tracker._client
    client.create_run(tracker._experiment, tags={"gengap.trial": trials[0].id})
    assert tracker.known() == set()
    name = trials[0].id
    store = lab.store
    shown = Tracked(
        trial=name, spec=store.spec(name), result=store.result(name), history=store.history(name)
    )
    tracker.log(shown)
    tracker.log(shown)
    assert tracker.known() == {name}
    assert len(client.search_runs([tracker._experiment])) == 1
