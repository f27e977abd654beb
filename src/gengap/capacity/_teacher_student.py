"""Ising perceptrons that learn from one of their kind, every student counted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from gengap._checks import check_count, check_non_negative
from gengap._streams import streams

from ._learning_curves import strictness

if TYPE_CHECKING:
    import pandas as pd

MOST_WEIGHTS = 24


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherStudent:
    """What exhaustive Gibbs learning of Ising perceptrons found, a row a load.

    Attributes:
        weights: N, so that there are 2^N students.
        temperature: T of the Gibbs weights exp(-mistakes / T).
        samples: Independent samples of teacher and examples.
        examples: m, int64 [k]; the load is m / N.
        errors: Error of a student drawn with the Gibbs weights: mean over samples, float64 [k].
        standard_errors: Of `errors`, over samples; NaN for one sample.
        worst: Largest error of a student without a mistake in each sample, float64 [samples, k].
        alone: Share of samples in which the teacher alone makes no mistake, float64 [k].
        annealed: What the annealed average gives for this N, exactly, float64 [k].
    """

    weights: int
    temperature: float
    samples: int
    examples: Tensor
    errors: Tensor
    standard_errors: Tensor
    worst: Tensor
    alone: Tensor
    annealed: Tensor

    def frame(self) -> "pd.DataFrame":
        """Return one row a load: load, examples, and the attributes, of `worst` the mean."""
        import pandas as pd

        return pd.DataFrame({
            "load": (self.examples / self.weights).numpy(),
            "examples": self.examples.numpy(),
            "error": self.errors.numpy(),
            "standard_error": self.standard_errors.numpy(),
            "worst": self.worst.mean(0).numpy(),
            "alone": self.alone.numpy(),
            "annealed": self.annealed.numpy(),
        })


def teacher_student(
    loads: Sequence[float],
    *,
    weights: int = 15,
    samples: int = 100,
    temperature: float = 0.0,
    seed: int = 0,
) -> TeacherStudent:
    r"""Let all 2^N Ising students learn from a teacher, and average by their Gibbs weights.

    $\epsilon = \langle \sum_w e^{-E(w)/T} \epsilon(w) / \sum_w e^{-E(w)/T} \rangle$, inputs
    standard normal, E(w) mistakes on m examples, $\epsilon(w) = \arccos(w \cdot w^*/N) / \pi$

    Within a sample nothing is sampled: every student is counted. Unbiased over samples, whose
    loads share examples, so that errors at neighboring loads go together. The teacher is all
    ones, which loses nothing: changing the sign of an input changes teacher and students alike.

    Args:
        loads: Examples per weight; each is rounded to a whole number of examples.
        weights: N, at most 24.
        samples: How many samples.
        temperature: T, in mistakes; 0 draws from the students that make none.
        seed: Of the inputs.

    Cost: samples times largest load times N 2^N additions; 10 bytes times 2^N.

    Raises:
        ValueError: A load is negative, or there are too many weights to count all students.

    Source:
        The experiment: Seung, Sompolinsky, Tishby (1992), Statistical mechanics of learning from
        examples; by enumeration, Gardner and Derrida (1989).
    """
    check_count("weights", weights)
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"`weights` must be at most {MOST_WEIGHTS} to count all students; got {weights!r}."
        )
    check_count("samples", samples)
    check_count("seed", seed, least=0)
    check_non_negative("temperature", temperature)
    examples = whole_examples(loads, weights)
    distance = _subset_sums(torch.ones(weights, dtype=torch.int64))
    errors = errors_by_distance(weights)
    rows = []
    for sample in range(samples):
        generator = streams(seed)("teacher and students", sample)
        shape = (int(examples.max()), weights)
        inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
        counted = _counted(inputs, examples.tolist(), distance, temperature)
        rows.append(torch.stack([_summary(weight, errors) for weight in counted]))
    table = torch.stack(rows)  # [samples, k, 3]
    mean = table.mean(0)
    deviation = table[:, :, 0].std(0) if samples > 1 else torch.full_like(mean[:, 0], math.nan)
    return TeacherStudent(
        weights=weights,
        temperature=temperature,
        samples=samples,
        examples=examples,
        errors=mean[:, 0],
        standard_errors=deviation / samples**0.5,
        worst=table[:, :, 1],
        alone=mean[:, 2],
        annealed=_annealed(examples, weights, temperature),
    )


def whole_examples(loads: Sequence[float], weights: int) -> Tensor:
    asked = torch.as_tensor(loads, dtype=torch.float64).reshape(-1)
    if not len(asked) or not bool((asked.isfinite() & (asked >= 0)).all()):
        raise ValueError(f"`loads` must be finite numbers of at least 0; got {loads!r}.")
    return (asked * weights).round().long()


def errors_by_distance(weights: int) -> Tensor:
    """Return the error of students by how many of their weights differ, float64 [N + 1]."""
    overlap = 1 - 2 * torch.arange(weights + 1, dtype=torch.float64) / weights
    return overlap.acos() / math.pi


def log_students(weights: int) -> Tensor:
    """Return the logarithm of the number of students at each distance, float64 [N + 1]."""
    k = torch.arange(weights + 1, dtype=torch.float64)
    n = torch.tensor(float(weights), dtype=torch.float64)
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def _subset_sums(terms: Tensor) -> Tensor:
    """Return the sum of every subset of N terms, [2^N], by doubling."""
    sums = torch.zeros(1 << len(terms), dtype=terms.dtype)
    for place, term in enumerate(terms):
        half = 1 << place
        torch.add(sums[:half], term, out=sums[half : 2 * half])
    return sums


def _counted(
    inputs: Tensor, readings: Sequence[int], distance: Tensor, temperature: float
) -> list[Tensor]:
    """Return Gibbs weights by distance from the teacher, and students that fit: [2, N + 1] each.

    A student is the set of weights that it has of the other sign; its field is the teacher's
    less twice the sum of those inputs, and it errs where that has the other sign.
    """
    mistakes = torch.zeros(len(distance), dtype=torch.int16)
    found: dict[int, Tensor] = {}
    for m in range(max(readings) + 1):
        if m in readings:
            found[m] = _by_distance(mistakes, distance, temperature)
        if m < len(inputs):
            field = inputs[m].sum()
            signed = inputs[m] * torch.sign(field)
            mistakes += _subset_sums(signed) > field.abs() / 2
    return [found[m] for m in readings]


def _by_distance(mistakes: Tensor, distance: Tensor, temperature: float) -> Tensor:
    fits = (mistakes == 0).double()
    weight = fits if temperature == 0 else (mistakes.double() / -temperature).exp()
    return torch.stack([torch.bincount(distance, weights=w) for w in (weight, fits)])


def _summary(counted: Tensor, errors: Tensor) -> Tensor:
    """Return mean error, largest error without a mistake, and whether the teacher is alone."""
    weight, fits = counted
    mean = (weight * errors).sum() / weight.sum()
    worst = errors[fits > 0].max()
    return torch.stack([mean, worst, (fits.sum() == 1).double()])


def _annealed(examples: Tensor, weights: int, temperature: float) -> Tensor:
    r"""Return the error under $\binom{N}{k} (1 - \gamma \epsilon_k)^m$, float64 [k]."""
    errors = errors_by_distance(weights)
    cost = torch.special.xlog1py(examples[:, None].double(), -strictness(temperature) * errors)
    return (torch.softmax(log_students(weights) + cost, 1) * errors).sum(1)
