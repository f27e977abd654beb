"""When each training example is learned and forgotten, and how clearly."""

import math

import torch
from torch import Tensor

from gengap.data import Ranks, Split

NEVER = -1


class ExampleProbe:
    """Follows every training example of l lanes through the evaluated epochs.

    Epoch 0, before training, counts for no learning time, forgetting or margin: what is right by
    chance is not learned. Nor do outputs count as right that are NaN, or whose largest is not
    finite: their loss is NaN. What an evaluation finds is known once it is finished: one that
    breaks off leaves no trace.

    Attributes:
        tensors: What is known so far, name to [l, n]: epoch first right, epoch since when it has
            been right without a break (-1 for neither), times it went from right to wrong, sums
            of margins, of losses and, [l, n, c], of the classes' probabilities, loss and whether
            right at the last evaluation.
        evaluations: Evaluated epochs after training began.
    """

    def __init__(self, splits: list[Split], rows: list[Tensor], device: torch.device) -> None:
        shape = (len(splits), len(splits[0]))
        never = torch.full(shape, NEVER, device=device)
        self.tensors = {
            "first": never,
            "since": never.clone(),
            "forgotten": torch.zeros_like(never),
            "margin": torch.zeros(shape, dtype=torch.float64, device=device),
            "losses": torch.zeros(shape, dtype=torch.float64, device=device),
            "probability": torch.zeros((*shape, splits[0].num_classes or 0), device=device),
            "loss": torch.full(shape, math.nan, device=device),
            "correct": torch.zeros(shape, dtype=torch.bool, device=device),
        }
        self.evaluations = 0
        self._changed = torch.stack([split.changed.to(device) for split in splits])
        self._targets = torch.stack([split.targets.to(device) for split in splits])
        self._rows = rows
        self._epoch, self._found = 0, dict[str, Tensor]()
        self._forgotten = torch.zeros(shape[0], dtype=torch.int64, device=device)
        self._lost = self._forgotten

    def start(self, epoch: int) -> None:
        """Begin the evaluation after so many epochs."""
        self._epoch = epoch
        self._found = {name: value.clone() for name, value in self.tensors.items()}
        self._lost = torch.zeros_like(self._forgotten)

    def take(self, outputs: Tensor, y: Tensor, losses: Tensor, rows: Tensor) -> None:
        """Take outputs [l, b, c], labels [l, b] and losses [l, b] of the examples `rows` [b]."""
        right = (outputs.argmax(-1) == y) & ~losses.isnan()
        found = {name: value[:, rows] for name, value in self._found.items()}
        found |= {"loss": losses.float(), "correct": right}
        if self._epoch > 0:
            lost = (found["since"] != NEVER) & ~right
            since = found["since"].masked_fill(found["since"] == NEVER, self._epoch)
            first = found["first"].masked_fill(right & (found["first"] == NEVER), self._epoch)
            found |= {
                "first": first,
                "since": since.masked_fill(~right, NEVER),
                "forgotten": found["forgotten"] + lost,
                "margin": found["margin"] + margins(outputs, y),
                "losses": found["losses"] + losses.double(),
                "probability": found["probability"] + outputs.float().softmax(-1),
            }
            self._lost += lost.sum(1)
        for name, value in found.items():
            self._found[name][:, rows] = value

    def finish(self, ranks: Ranks | None = None) -> None:
        """End the evaluation, with what the other ranks found of their parts of the examples."""
        ranks, n = ranks or Ranks(), self._targets.shape[1]
        part = ranks.part(n)
        found = {
            name: ranks.gathered(part.of(value, 1), n, dim=1) for name, value in self._found.items()
        }
        lost = ranks.added([self._lost])[0]
        self.tensors, self._forgotten, self._found = found, lost, {}
        self.evaluations += self._epoch > 0

    def row(self, place: int) -> dict[str, float]:
        """Return a lane's columns of the history, after the last evaluation."""
        learned = self.tensors["first"][place] != NEVER
        changed = self._changed[place]
        return {
            "learned": _share(learned),
            "learned_clean": _share(learned[~changed]),
            "learned_corrupted": _share(learned[changed]),
            "forgetting_events": float(self._forgotten[place]),
        }

    def columns(self, place: int) -> dict[str, Tensor]:
        """Return the columns of a lane's frame, a row a training example."""
        own = {name: value[place].cpu() for name, value in self.tensors.items()}
        epochs = self.evaluations or math.nan
        probability, label = own["probability"] / epochs, self._targets[place].cpu()[:, None]
        other, suggested = probability.scatter(1, label, -math.inf).max(1)
        return {
            "example": self._rows[place],
            "changed": self._changed[place].cpu(),
            "first_learned": _or_nan(own["first"]),
            "last_learned": _or_nan(own["since"]),
            "forgotten": own["forgotten"].clone(),
            "margin": own["margin"] / epochs,
            "mean_loss": own["losses"] / epochs,
            "confidence": probability.gather(1, label).squeeze(1).double(),
            "suggested": suggested,
            "suggested_confidence": other.double(),
            "loss": own["loss"].double(),
            "correct": own["correct"].clone(),
        }

    def keep(self, places: list[int]) -> None:
        """Go on with the lanes at these places."""
        self.tensors = {name: value[places] for name, value in self.tensors.items()}
        self._changed, self._forgotten = self._changed[places], self._forgotten[places]
        self._targets = self._targets[places]
        self._rows = [self._rows[place] for place in places]


def margins(outputs: Tensor, y: Tensor) -> Tensor:
    r"""Return $z_y - \max_{k \ne y} z_k$ of outputs [..., c] and labels [...], float64."""
    label = y.unsqueeze(-1)
    own = outputs.gather(-1, label).squeeze(-1)
    return own.double() - outputs.scatter(-1, label, -math.inf).amax(-1).double()


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _or_nan(epochs: Tensor) -> Tensor:
    return epochs.double().masked_fill(epochs == NEVER, math.nan)
