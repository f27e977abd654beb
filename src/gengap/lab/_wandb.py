"""Trials in Weights & Biases: an offline run a trial, for `wandb sync`."""

import os
import shutil
from pathlib import Path
from typing import final

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing is sent from here

import wandb

from ._tracking import Tracked, Tracker


@final
class WandB(Tracker):
    """Writes history by step, configuration, and final numbers into the summary as `final/...`.

    Nothing is sent; `wandb sync` does that. A run's id is its trial's, so that a run that was
    sent twice is one run. The project is that of `WANDB_PROJECT`, else "gengap".

    Attributes:
        folder: Where the runs are: `wandb sync FOLDER/offline-run-*` sends them.
    """

    name = "wandb"

    def __init__(self, folder: str | Path) -> None:
        """Write into `folder`/wandb."""
        self.folder = Path(folder) / "wandb"
        self._part = (Path(folder) / ".wandb.part").absolute()

    def known(self) -> set[str]:
        """Return the trials that have a run."""
        return {path.name.rsplit("-", 1)[-1] for path in self.folder.glob("offline-run-*")}

    def log(self, trial: Tracked) -> None:
        """Write a run, elsewhere first, so that it is there whole or not at all."""
        if any(self.folder.glob(f"offline-run-*-{trial.trial}")):
            return
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "gengap"),
            id=trial.trial,
            name=trial.name,
            config={**trial.parameters, "specification": trial.spec},
            dir=str(self._part),
            mode="offline",
            reinit="create_new",
            settings=_quiet(),
        )
        for step, _, cells in trial.rows:
            run.log(cells, step=step)
        run.summary.update({f"final/{name}": value for name, value in trial.final.items()})
        run.summary.update({name: trial.result[name] for name in ("status", "reason")})
        run.finish()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self._part / "wandb").glob(f"offline-run-*-{trial.trial}"):
            path.replace(self.folder / path.name)
        shutil.rmtree(self._part, ignore_errors=True)


def _quiet() -> wandb.Settings:
    """Return settings that add nothing of this machine and this process."""
    return wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )
