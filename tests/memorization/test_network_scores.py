"""Twin: scores from a network's gradients. Oracle: one example at a time by plain autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gengap
from gengap.memorization import error_norm, gradient_norm, misalignment, network_scores
from tests.training.cases import make_images, make_real, make_split, perceptron


def networks():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        convolutions = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(), nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(48, 3)
        )
        return [(perceptron(), make_split(n=9)), (convolutions, make_images(n=9))]


def one_by_one(model, split):
    """Gradients [n, p] and probabilities' errors of every example alone."""
    rows, errors = [], []
    model = model.double()
    for i in range(len(split)):
        x, y = split.batch(torch.tensor([i]))
        model.zero_grad()
        outputs = model(x.double())
        F.cross_entropy(outputs, y).backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy())
        errors.append(((outputs.softmax(1) - F.one_hot(y, 3)) ** 2).sum().sqrt().item())
    return np.stack(rows), np.array(errors)


@pytest.mark.parametrize("case", [0, 1])
def test_scores_are_those_of_examples_alone(case):
    model, split = networks()[case]
    gradients, errors = one_by_one(model, split)
    risk = gengap.Risk(model.double(), split)
    expected = []
    for i in range(len(split)):
        alike = split.targets.numpy() == split.targets[i].item()
        alike[i] = False
        others = gradients[alike].mean(0) if alike.any() else np.zeros(gradients.shape[1])
        scale = np.linalg.norm(others) * np.linalg.norm(gradients[i])
        expected.append(-gradients[i] @ others / scale if scale else 0.0)
    norms = np.linalg.norm(gradients, axis=1)
    found = network_scores(risk)
    for values, twin, own in (
        (found["error_norm"], errors, error_norm(risk)),
        (found["gradient_norm"], norms, gradient_norm(risk)),
        (found["misalignment"], np.array(expected), misalignment(risk)),
    ):
        np.testing.assert_allclose(values, twin, rtol=1e-9)
        np.testing.assert_allclose(values, own, rtol=1e-12)
        assert values.dtype == np.float64


def test_an_example_alone_with_its_label_is_not_judged():
    model, split = networks()[0]
    targets = torch.zeros(9, dtype=torch.int64)
    targets[4] = 2
    found = misalignment(gengap.Risk(model, replace(split, targets=targets)))
    assert found[4] == 0 and (found[:4] != 0).all()


@pytest.mark.parametrize("score", [error_norm, misalignment])
def test_scores_of_labels_need_classes(score):
    with torch.random.fork_rng(devices=[]):
        line = nn.Linear(5, 2)
    risk = gengap.Risk(line, make_real(), loss="squared_error")
    with pytest.raises(ValueError, match="must have classes"):
        score(risk)
