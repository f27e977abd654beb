"""Trials in TensorBoard: a folder of events a trial."""

import json
import shutil
from pathlib import Path
from typing import final

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from ._tracking import Tracked, Tracker


@final
class TensorBoard(Tracker):
    """Writes scalars by step, hyper-parameters with final numbers, and the specification.

    TensorBoard keeps scalars as float32.

    Attributes:
        folder: What `tensorboard --logdir` takes.
    """

    name = "tensorboard"

    def __init__(self, folder: str | Path) -> None:
        """Write into `folder`/tensorboard."""
        self.folder = Path(folder) / "tensorboard"
        self._part = Path(folder) / ".tensorboard.part"

    def known(self) -> set[str]:
        """Return the trials that have a folder."""
        if not self.folder.is_dir():
            return set()
        return {path.name.rsplit("-", 1)[-1] for path in self.folder.iterdir()}

    def log(self, trial: Tracked) -> None:
        """Write a folder of events, elsewhere first, so that it is there whole or not at all."""
        if any(self.folder.glob(f"*-{trial.trial}")):
            return
        shutil.rmtree(self._part, ignore_errors=True)
        end = trial.rows[-1]
        with SummaryWriter(str(self._part)) as writer:
            for step, clock, cells in trial.rows:
                for name, value in cells.items():
                    writer.add_scalar(name, value, step, walltime=clock)
            final = {f"final/{name}": value for name, value in trial.final.items()}
            for name, value in final.items():
                writer.add_scalar(name, value, end[0], walltime=end[1])
            for summary in hparams({**trial.parameters, "trial": trial.trial}, final):
                writer.file_writer.add_summary(summary)
            text = json.dumps(trial.spec, indent=1, sort_keys=True)
            writer.add_text("specification", f"```\n{text}\n```", walltime=end[1])
            writer.add_text("status", f"{trial.result['status']}: {trial.result['reason']}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._part.replace(self.folder / f"{_plain(trial.name)}-{trial.trial}")


def _plain(text: str) -> str:
    """Return a name that is good for a folder."""
    words = "".join(letter if letter.isalnum() or letter in "=." else "-" for letter in text)
    return "-".join(word for word in words.split("-") if word)[:120]
