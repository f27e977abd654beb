"""Trials in MLflow: a run a trial."""

import json
import os
import warnings
from pathlib import Path
from typing import Any, final

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from ._tracking import Tracked, Tracker

_TAG = "gengap.trial"
_MOST_METRICS, _MOST_PARAMETERS, _LONGEST_VALUE = 1000, 100, 5000


@final
class MLflow(Tracker):
    """Writes metrics by step, parameters, final numbers as `final/...`, the specification as a tag.

    Where: the tracking server or store that `MLFLOW_TRACKING_URI` names, else an SQLite file
    beside the trials; the experiment that `MLFLOW_EXPERIMENT_NAME` names, else "gengap".

    Attributes:
        address: What `mlflow ui --backend-store-uri` takes.
    """

    name = "mlflow"

    def __init__(self, folder: str | Path) -> None:
        """Open the store, which makes its tables where there are none."""
        folder = Path(folder).absolute()
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self.address = given or f"sqlite:///{folder / 'mlflow.db'}"
        if not given:
            folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._client = MlflowClient(self.address)
            self._experiment = self._opened(None if given else (folder / "mlflow").as_uri())

    def _opened(self, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "gengap")
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifacts))

    def known(self) -> set[str]:
        """Return the trials of finished runs."""
        return {run.data.tags[_TAG] for run in self._runs("attributes.status = 'FINISHED'")}

    def _runs(self, condition: str) -> list[Any]:
        runs, token = [], None
        while True:
            page = self._client.search_runs(
                [self._experiment], condition, max_results=1000, page_token=token
            )
            runs += [run for run in page if _TAG in run.data.tags]
            token = page.token
            if not token:
                return runs

    def log(self, trial: Tracked) -> None:
        """Write a run; it is finished once it is whole."""
        for old in self._runs(f"tags.`{_TAG}` = '{trial.trial}'"):
            if old.info.status == "FINISHED":
                return
            self._client.delete_run(old.info.run_id)
        rows = trial.rows
        times = [round(1000 * clock) for _, clock, _ in rows]
        run = self._client.create_run(
            self._experiment,
            start_time=times[0],
            run_name=trial.name,
            tags={_TAG: trial.trial},
        ).info.run_id
        metrics = [
            Metric(name, value, clock, step)
            for (step, _, cells), clock in zip(rows, times, strict=True)
            for name, value in cells.items()
        ]
        last = times[-1], rows[-1][0]
        metrics += [Metric(f"final/{name}", value, *last) for name, value in trial.final.items()]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])
        cells = [Param(k, str(v)[:_LONGEST_VALUE]) for k, v in trial.parameters.items()]
        for start in range(0, len(cells), _MOST_PARAMETERS):
            self._client.log_batch(run, params=cells[start : start + _MOST_PARAMETERS])
        self._client.log_batch(run, tags=_tags(trial))
        self._client.set_terminated(run, "FINISHED", end_time=times[-1])


def _tags(trial: Tracked) -> list[RunTag]:
    words = {
        "gengap.specification": json.dumps(trial.spec, sort_keys=True),
        "gengap.status": trial.result["status"],
        "gengap.reason": trial.result["reason"],
    }
    return [RunTag(name, text[:_LONGEST_VALUE]) for name, text in words.items()]
