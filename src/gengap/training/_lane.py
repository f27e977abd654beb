"""One of several runs that train together."""

from dataclasses import dataclass
from typing import final

from gengap._checks import check_non_negative, check_positive, check_probability
from gengap.data import Split

from ._recipe import Recipe


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Lane:
    """One of several runs that train together as a single batched program.

    Lanes share the architecture, the number of training examples and the recipe; each has its
    own examples, labels, seed and, where given, its own learning rate, momentum, weight decay.

    Attributes:
        split: What to train on; leave examples out with `split[mask]`.
        test: What to test on; None takes the test split given to `fit_lanes`.
        seed: Root of the initial weights, the order of the batches and every other draw.
        lr: Learning rate; None takes the recipe's.
        momentum: Momentum; None takes the recipe's.
        weight_decay: L2 coefficient; None takes the recipe's.
    """

    split: Split
    test: Split | None = None
    seed: int = 0
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        for name, given in (("split", self.split), ("test", self.test)):
            if not isinstance(given, Split) and (given is not None or name == "split"):
                raise TypeError(
                    f"`{name}` must be a gengap.Split; got {type(given).__name__}. Make one with "
                    "gengap.data.as_split(inputs, labels)."
                )
        if self.lr is not None:
            check_positive("lr", self.lr)
        if self.momentum is not None:
            check_probability("momentum", self.momentum)
            if self.momentum == 1:
                raise ValueError("`momentum` must be below 1; got 1.")
        if self.weight_decay is not None:
            check_non_negative("weight_decay", self.weight_decay)

    def hyperparameter(self, name: str, recipe: Recipe) -> float:
        """Return the lane's own value of `name`, or the recipe's."""
        own = getattr(self, name)
        return float(getattr(recipe, name) if own is None else own)
