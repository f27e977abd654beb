"""Errors that no Ising student that fits exceeds, whatever the learner."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gengap._checks import check_count, check_probability

from ._learning_curves import LEAST, annealed_exponent, learning_curve, root
from ._teacher_student import errors_by_distance, log_students, whole_examples


def rightmost_crossing(loads: Sequence[float] | Tensor, *, temperature: float = 0.0) -> Tensor:
    r"""Return the largest error at which the entropy of Ising students reaches the cost of fitting.

    $\max \{\epsilon : s(\epsilon) \ge -\alpha \ln(1 - \gamma \epsilon)\}$

    At T = 0 a bound for a large number of weights: the chance that any student with a larger
    error fits all examples goes to 0, whichever of those that fit is taken. `consistent_bound`
    is the same for a finite number. At T > 0 the same crossing of the Gibbs weights, which
    then bounds no learner. Not for continuous students, of whom there are infinitely many.

    Args:
        loads: Examples per weight, positive, any number.
        temperature: T of the Gibbs weights, in mistakes.

    Returns:
        Errors in [0, 1], float64 [k]; 0 above the transition.

    Source:
        Haussler, Kearns, Seung, Tishby (1996), Rigorous learning curve bounds from statistical
        mechanics; Martin and Mahoney (2017), arXiv:1710.09553.
    """
    curve = learning_curve(loads, temperature=temperature)
    found = []
    for at, error in zip(curve.loads.tolist(), curve.errors.tolist(), strict=True):

        def weight(error: float, at: float = at) -> float:
            eps = torch.tensor(error, dtype=torch.float64)
            return float(annealed_exponent(eps, at, temperature=temperature))

        found.append(root(weight, error, 1 - LEAST, rising=False) if error > 0 else 0.0)
    return torch.tensor(found, dtype=torch.float64)


def consistent_bound(loads: Sequence[float], *, weights: int, probability: float = 0.05) -> Tensor:
    r"""Return an error that no Ising student that fits exceeds, but for a small probability.

    The least $\epsilon$ with
    $\sum_{k: \epsilon_k > \epsilon} \binom{N}{k} (1 - \epsilon_k)^m \le \delta$: a sum over all
    students, by the union bound

    Rigorous for this N and every learner that makes no mistake on the m examples; with N it goes
    to `rightmost_crossing`.

    Args:
        loads: Examples per weight; each is rounded to a whole number of examples.
        weights: N.
        probability: Delta, in (0, 1].

    Returns:
        Errors in [0, 1], float64 [k]; 1 says nothing.

    Source:
        Haussler, Kearns, Seung, Tishby (1996), Rigorous learning curve bounds from statistical
        mechanics.
    """
    check_count("weights", weights)
    check_probability("probability", probability)
    errors, found = errors_by_distance(weights), []
    for m in whole_examples(loads, weights).tolist():
        terms = log_students(weights) + torch.special.xlog1py(torch.tensor(m), -errors)
        beyond = torch.logcumsumexp(terms.flip(0), 0).flip(0)  # from each distance on
        above = int((beyond.exp() > probability).sum())
        found.append(float(errors[max(above - 1, 0)]))
    return torch.tensor(found, dtype=torch.float64)
