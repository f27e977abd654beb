"""How well a network fits: loss, accuracy, margins, and the gap to other examples."""

import torch
from torch import Tensor

from gengap._right import is_right
from gengap.risk import Risk

from ._measure import Measure, Question, Value

_FORWARD = 1 / 3


def outputs_and_targets(risk: Risk) -> tuple[Tensor, Tensor]:
    """Return the outputs, float64 [n, c], and the labels [n] of all examples.

    Raises:
        ValueError: The examples have no classes, or the outputs are not a row of scores each.
    """
    if risk.split.num_classes is None:
        raise ValueError("`split` must have classes for this measure; got real targets.")
    with torch.no_grad():
        parts = [(risk.model(x).double(), y) for x, y in risk.batches()]
    outputs, targets = torch.cat([z for z, _ in parts]), torch.cat([y for _, y in parts])
    if outputs.ndim != 2 or targets.ndim != 1 or outputs.shape[1] < 2:
        raise ValueError(
            "`model` must give one row of scores an example, [n, c]; got shape "
            f"{tuple(outputs.shape)}."
        )
    return outputs, targets


def margins(risk: Risk) -> Tensor:
    """Return the score of every example's label minus the largest other score, float64 [n]."""
    outputs, targets = outputs_and_targets(risk)
    own = outputs.gather(1, targets[:, None])
    others = outputs.scatter(1, targets[:, None], -torch.inf).amax(1)
    return own[:, 0] - others


def _accuracy(risk: Risk) -> float:
    outputs, targets = outputs_and_targets(risk)
    return float(is_right(outputs, targets).double().mean())


def _loss(question: Question) -> Value:
    return Value(value=question.risk(), passes=_FORWARD)


def _train_accuracy(question: Question) -> Value:
    return Value(value=_accuracy(question.risk), passes=_FORWARD)


def _test_loss(question: Question) -> Value:
    losses = question.held_out().per_example()
    error = float(losses.std()) / len(losses) ** 0.5 if len(losses) > 1 else float("nan")
    return Value(value=float(losses.mean()), standard_error=error, passes=_FORWARD)


def _test_accuracy(question: Question) -> Value:
    risk = question.held_out()
    share = _accuracy(risk)
    return Value(value=share, standard_error=_binomial(share, risk.n), passes=_FORWARD)


def _gap(question: Question) -> Value:
    train, test = _accuracy(question.risk), _accuracy(question.held_out())
    error = _binomial(test, question.held_out().n)
    return Value(value=train - test, standard_error=error, passes=2 * _FORWARD)


def _margin(question: Question) -> Value:
    found = margins(question.risk)
    return Value(value=float(found.quantile(0.1)), passes=_FORWARD)


def _binomial(share: float, n: int) -> float:
    return float((share * (1 - share) / n) ** 0.5)


FIT = (
    Measure(
        name="loss", formula="mean loss on the examples", units="nats", function=_loss,
        range="at least 0", cost="1/3", invariant=True,
    ),
    Measure(
        name="accuracy", formula="share of labels predicted", units="share",
        function=_train_accuracy, range="[0, 1]", cost="1/3", invariant=True,
    ),
    Measure(
        name="test_loss", formula="mean loss on the test examples", units="nats",
        function=_test_loss, range="at least 0", cost="1/3 of the test examples", invariant=True,
        caveat="the standard error is that over test examples",
    ),
    Measure(
        name="test_accuracy", formula="share of test labels predicted", units="share",
        function=_test_accuracy, range="[0, 1]", cost="1/3 of the test examples", invariant=True,
        caveat="the standard error is that over test examples",
    ),
    Measure(
        name="gap", formula="accuracy minus test accuracy", units="share", function=_gap,
        range="[-1, 1]", cost="2/3", invariant=True,
        caveat="the standard error is that over test examples",
    ),
    Measure(
        name="margin", formula="10th percentile of the label's score minus the largest other",
        units="logits", function=_margin, range="real", cost="1/3", invariant=True,
        caveat="grows with the size of the last layer",
        source="Jiang et al. (2020), arXiv:1912.02178",
    ),
)  # fmt: skip
