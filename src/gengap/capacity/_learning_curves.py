r"""Learning curves of two perceptrons by annealed statistical mechanics: load and temperature.

The number of students with error eps grows as exp(N s(eps)), each of which makes no mistake on
alpha N examples with probability (1 - eps)^(alpha N). Where the product of the two is largest is
the error of a student drawn at random from those that fit. With Gibbs weights exp(-E / T) of the
number E of mistakes, 1 - eps becomes 1 - (1 - exp(-1/T)) eps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor

from gengap._checks import check_choice, check_non_negative, check_positive, check_probability

if TYPE_CHECKING:
    import pandas as pd

Students = Literal["ising", "continuous"]
_KINDS = ("ising", "continuous")
LEAST = 1e-12
_HALVINGS = 60


def effective_load(examples: float, *, capacity: float, label_noise: float = 0.0) -> float:
    r"""Return the load: examples with a true label, over capacity.

    $\alpha = (1 - \text{noise}) m / N$

    Args:
        examples: Training examples m.
        capacity: N: weights of a perceptron; of a network, its parameters or what it memorizes.
        label_noise: Share of labels redrawn at random, in [0, 1].

    Returns:
        Examples per unit of capacity, at least 0.

    Source:
        Martin and Mahoney (2017), arXiv:1710.09553, who let noise lower the load.
    """
    check_non_negative("examples", examples)
    check_positive("capacity", capacity)
    check_probability("label_noise", label_noise)
    return (1 - label_noise) * examples / capacity


def student_entropy(errors: Tensor, *, students: Students = "ising") -> Tensor:
    r"""Return the entropy s of the students with a given error, per weight, in nats.

    A student whose weights have overlap R with the teacher's errs on $\arccos(R) / \pi$ of
    Gaussian inputs. Ising, weights of +1 and -1:
    $s = H(\sin^2(\pi \epsilon / 2))$ in [0, ln 2], H of a coin; continuous, on a sphere:
    $s = \ln \sin(\pi \epsilon)$, relative to all students.

    Args:
        errors: Errors eps in [0, 1], any shape.
        students: "ising" or "continuous".
    """
    check_choice("students", students, _KINDS)
    eps = errors.double()
    if students == "continuous":
        return (math.pi * eps).sin().clamp(min=0).log()
    flipped = (math.pi * eps / 2).sin().square()
    kept = (math.pi * eps / 2).cos().square()
    return -torch.special.xlogy(flipped, flipped) - torch.special.xlogy(kept, kept)


def annealed_exponent(
    errors: Tensor, load: float, *, students: Students = "ising", temperature: float = 0.0
) -> Tensor:
    r"""Return the exponent of the weight of students with a given error, per weight, in nats.

    $\phi(\epsilon) = s(\epsilon) + \alpha \ln(1 - \gamma \epsilon)$,
    $\gamma = 1 - e^{-1/T}$, which is 1 at T = 0

    For Ising students phi(0) = 0 is the teacher alone.

    Args:
        errors: Errors eps in [0, 1), any shape.
        load: Examples per weight, alpha.
        students: "ising" or "continuous".
        temperature: T of the Gibbs weights, in mistakes.
    """
    check_non_negative("load", load)
    gamma = strictness(temperature)
    return student_entropy(errors, students=students) + load * torch.log1p(-gamma * errors.double())


def stationary_load(
    errors: Tensor, *, students: Students = "ising", temperature: float = 0.0
) -> Tensor:
    r"""Return the load at which the exponent is stationary at a given error.

    $\alpha(\epsilon) = s'(\epsilon) (1 - \gamma \epsilon) / \gamma$ with
    $s' = \pi \sin(\pi \epsilon) \ln \cot(\pi \epsilon / 2)$ (Ising) or $\pi \cot(\pi \epsilon)$

    The whole curve in closed form, with the error as its parameter: for Ising students it rises
    from 0 to the spinodal and falls to 0 at 1/2, where errors above that of the spinodal are
    maxima and those below minima.

    Args:
        errors: Errors eps in (0, 1/2], any shape.
        students: "ising" or "continuous".
        temperature: T of the Gibbs weights, in mistakes.
    """
    check_choice("students", students, _KINDS)
    gamma, eps = strictness(temperature), errors.double()
    half = math.pi * eps / 2
    if students == "ising":
        slope = -math.pi * (2 * half).sin() * half.tan().log()
    else:
        slope = math.pi / (2 * half).tan()
    return slope.clamp(min=0) * (1 - gamma * eps) / gamma


@final
@dataclass(frozen=True, kw_only=True)
class IsingTransition:
    """Where the learning curve of Ising students breaks off.

    Attributes:
        load: Load beyond which the teacher alone outweighs all others.
        error: Error just below that load; 0 above it.
        spinodal: Load beyond which no other maximum is left, however little it weighs.
        spinodal_error: Error at which that maximum vanishes.
    """

    load: float
    error: float
    spinodal: float
    spinodal_error: float


def ising_transition(*, temperature: float = 0.0) -> IsingTransition:
    """Return the first-order transition of annealed Ising students and their spinodal.

    At T = 0: 1.448 and 1.730. The annealed average is an approximation, which here comes late:
    the transition of the typical sample is at a load of 1.245 (replica theory).

    Args:
        temperature: T of the Gibbs weights, in mistakes.

    Source:
        The curve: Martin and Mahoney (2017), arXiv:1710.09553, section 3, after Seung,
        Sompolinsky, Tishby (1992) and Haussler, Kearns, Seung, Tishby (1996).
    """
    top = _spinodal_error(temperature)

    def weight(error: float) -> float:
        eps = torch.tensor(error, dtype=torch.float64)
        at = float(stationary_load(eps, temperature=temperature))
        return float(annealed_exponent(eps, at, temperature=temperature))

    error = root(weight, top, 0.5)
    spinodal, at = (
        float(stationary_load(torch.tensor(eps), temperature=temperature)) for eps in (top, error)
    )
    return IsingTransition(load=at, error=error, spinodal=spinodal, spinodal_error=top)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LearningCurve:
    """Errors of annealed students over loads.

    Attributes:
        students: "ising" or "continuous".
        temperature: T of the Gibbs weights, in mistakes.
        loads: Examples per weight, float64 [k].
        errors: Error of the students with the largest weight, float64 [k], in [0, 1/2].
        metastable: Error of a second, smaller maximum, float64 [k]: 0 below the transition of
            Ising students, the error of a learner that is stuck between it and the spinodal, and
            NaN where there is none.
    """

    students: Students
    temperature: float
    loads: Tensor
    errors: Tensor
    metastable: Tensor

    def frame(self) -> "pd.DataFrame":
        """Return one row a load: load, error, metastable."""
        import pandas as pd

        columns = {"load": self.loads, "error": self.errors, "metastable": self.metastable}
        return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def learning_curve(
    loads: Sequence[float] | Tensor,
    *,
    students: Students = "ising",
    temperature: float = 0.0,
) -> LearningCurve:
    r"""Return the annealed learning curve of a perceptron with a teacher of its kind.

    $\epsilon^* = \arg\max_\epsilon s(\epsilon) + \alpha \ln(1 - \gamma \epsilon)$

    In the limit of many weights, of Gaussian inputs. An approximation of the typical sample,
    whose logarithm of the weight it replaces by that of the mean weight. Each error solves
    `stationary_load` by bisection to float64.

    Args:
        loads: Examples per weight, positive, any number.
        students: "ising" or "continuous".
        temperature: T of the Gibbs weights, in mistakes; 0 draws from the students that make none.

    Raises:
        ValueError: A load or the temperature is not a number in range.

    Source:
        Martin and Mahoney (2017), arXiv:1710.09553, section 3.
    """
    check_choice("students", students, _KINDS)
    where = torch.as_tensor(loads, dtype=torch.float64).reshape(-1)
    if not len(where) or not bool((where.isfinite() & (where > 0)).all()):
        raise ValueError(f"`loads` must be positive and finite numbers; got {loads!r}.")
    ising = students == "ising"
    low = _spinodal_error(temperature) if ising else LEAST
    found = _maxima(where, low, students, temperature)
    other = torch.full_like(where, math.nan)
    if ising:
        point = ising_transition(temperature=temperature)
        first, exists = where < point.load, where < point.spinodal
        stuck = torch.where(exists, found, other)
        other = torch.where(first, torch.zeros_like(found), stuck)
        found = torch.where(first, found, torch.zeros_like(found))
    return LearningCurve(
        students=students, temperature=temperature, loads=where, errors=found, metastable=other
    )


def strictness(temperature: float) -> float:
    """Return how much a mistake costs, gamma = 1 - exp(-1/T), in (0, 1]."""
    check_non_negative("temperature", temperature)
    return 1.0 if temperature == 0 else -math.expm1(-1 / temperature)


def _spinodal_error(temperature: float) -> float:
    """Return the error at which the stationary load of Ising students is largest."""
    gamma = strictness(temperature)

    def slope(error: float) -> float:
        half = math.pi * error / 2
        inner = -math.log(math.tan(half))
        bend = math.pi * math.cos(2 * half) * inner - math.pi
        return bend * (1 - gamma * error) - gamma * math.sin(2 * half) * inner

    return root(slope, 1e-6, 0.5, rising=False)


def _maxima(loads: Tensor, low: float, students: Students, temperature: float) -> Tensor:
    """Return the errors above `low` at which the exponent has its maximum, by bisection."""
    left, right = torch.full_like(loads, low), torch.full_like(loads, 0.5)
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        at = stationary_load(middle, students=students, temperature=temperature)
        left = torch.where(at > loads, middle, left)
        right = torch.where(at > loads, right, middle)
    return (left + right) / 2


def root(
    function: Callable[[float], float], low: float, high: float, *, rising: bool = True
) -> float:
    """Return where a function that crosses zero once does so, by bisection."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (function(middle) > 0) == rising:
            high = middle
        else:
            low = middle
    return (low + high) / 2
