"""Twin: students one by one; closed form: the limit of many weights; property: the bound holds."""

import itertools
import math

import pytest
import torch

from gengap import capacity
from gengap._streams import streams
from gengap.capacity._teacher_student import _annealed


def one_by_one(inputs, m, temperature):
    """Return error, worst error and whether the teacher is alone, of one sample."""
    teacher = torch.ones(inputs.shape[1], dtype=torch.float64)
    total = weighted = worst = 0.0
    fitting = 0
    for signs in itertools.product((1.0, -1.0), repeat=inputs.shape[1]):
        student = torch.tensor(signs, dtype=torch.float64)
        overlap = float(student @ teacher) / len(student)
        error = math.acos(overlap) / math.pi
        wrong = int(((inputs[:m] @ student) * (inputs[:m] @ teacher) < 0).sum())
        fitting += wrong == 0
        worst = max(worst, error) if wrong == 0 else worst
        weight = float(wrong == 0) if temperature == 0 else math.exp(-wrong / temperature)
        total += weight
        weighted += weight * error
    return weighted / total, worst, float(fitting == 1)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_counts_are_those_of_students_taken_one_by_one(temperature):
    n, samples, loads = 6, 3, [0.0, 1.0, 2.5]
    found = capacity.teacher_student(
        loads, weights=n, samples=samples, temperature=temperature, seed=4
    )
    expected = torch.zeros(samples, 3, 3, dtype=torch.float64)
    for sample in range(samples):
        generator = streams(4)("teacher and students", sample)
        inputs = torch.randn(15, n, generator=generator, dtype=torch.float64)
        for place, m in enumerate((0, 6, 15)):
            expected[sample, place] = torch.tensor(one_by_one(inputs, m, temperature))
    torch.testing.assert_close(found.errors, expected[:, :, 0].mean(0))
    torch.testing.assert_close(found.worst, expected[:, :, 1])
    assert found.frame()["worst"].tolist() == pytest.approx(expected[:, :, 1].mean(0).tolist())
    torch.testing.assert_close(found.alone, expected[:, :, 2].mean(0))
    torch.testing.assert_close(found.standard_errors, expected[:, :, 0].std(0) / samples**0.5)


def test_few_examples_are_annealed_and_many_leave_the_teacher():
    found = capacity.teacher_student([0, 0.2, 1.0, 4.0], weights=10, samples=60)
    frame = found.frame()
    assert frame["error"][0] == pytest.approx(0.5)
    assert frame["annealed"][0] == pytest.approx(0.5)
    assert abs(frame["error"][1] - frame["annealed"][1]) < 0.02
    assert frame["alone"].is_monotonic_increasing
    assert frame["alone"][3] == 1
    assert frame["error"][3] == 0
    assert list(frame["examples"]) == [0, 2, 10, 40]


def test_many_weights_bring_the_finite_average_and_bound_to_the_limit():
    loads = [0.5, 1.0, 1.2, 2.0]
    limit = capacity.rightmost_crossing(loads)
    torch.testing.assert_close(
        capacity.consistent_bound(loads, weights=20_000), limit, atol=2e-3, rtol=0
    )
    small = capacity.consistent_bound(loads, weights=20)
    assert bool((small[1:3] > limit[1:3]).all())
    examples = torch.tensor([load * 20_000 for load in (0.5, 1.0)]).long()
    torch.testing.assert_close(
        _annealed(examples, 20_000, 0.0),
        capacity.learning_curve([0.5, 1.0]).errors,
        atol=1e-3,
        rtol=0,
    )


def test_no_student_that_fits_exceeds_the_bound_more_often_than_promised():
    loads, n, samples, delta = [0.5, 1.0, 1.5, 2.0, 2.5], 9, 120, 0.2
    bound = capacity.consistent_bound(loads, weights=n, probability=delta)
    worst = capacity.teacher_student(loads, weights=n, samples=samples, seed=1).worst
    share = (worst > bound + 1e-12).double().mean(0)
    assert float(share.max()) < delta
    assert capacity.consistent_bound([0.0], weights=n).item() == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": 25}, "`weights` must be at most 24"),
        ({"weights": 0}, "`weights` must be a whole number"),
        ({"samples": 0}, "`samples` must be a whole number"),
        ({"temperature": -1.0}, "`temperature` must be at least 0"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_a_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        capacity.teacher_student([1.0], **options)
    with pytest.raises(ValueError, match="`loads` must be finite numbers"):
        capacity.teacher_student([-1.0])
