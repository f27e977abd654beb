"""Scores of single examples from a trained network; higher is more suspicious."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gengap.gradients import coherence, per_example_squared_norms
from gengap.risk import Risk


def error_norm(risk: Risk) -> np.ndarray:
    r"""Return $\|p(x_i) - e_{y_i}\|_2$, float64 [n], in [0, $\sqrt 2$]. Cost: a forward pass.

    Source:
        The EL2N of Paul et al. (2021), arXiv:2107.07075, who take networks after a few epochs.

    Raises:
        ValueError: The targets are not classes.
    """
    _check_classes(risk)
    with torch.no_grad():
        parts = [_error_norms(risk.model(x), y) for x, y in risk.batches()]
    return torch.cat(parts).cpu().numpy()


def gradient_norm(risk: Risk) -> np.ndarray:
    r"""Return the norm of the gradient of every example's loss, float64 [n]. Cost: one gradient.

    Source:
        The GraNd of Paul et al. (2021), arXiv:2107.07075, at the network that is given.
    """
    return per_example_squared_norms(risk).sqrt().cpu().numpy()


def misalignment(risk: Risk) -> np.ndarray:
    r"""Return minus the cosine of a gradient and the mean of the others of its label, float64 [n].

    $-\frac{\langle g_i, m_i \rangle}{\|g_i\| \, \|m_i\|}$, in [-1, 1], where $m_i$ is the mean
    gradient of the other examples with the label of example i

    Positive where learning the others of its label unlearns the example; 0 where one of the two is
    zero. The mean over all labels tells little: it nearly vanishes in a trained network, and what
    is left comes from the very labels that do not fit. Cost: two gradients.

    Source:
        The per-example form of coherence; Chatterjee and Zielinski (2022), arXiv:2203.10036. To
        compare within a label is ours.

    Raises:
        ValueError: The targets are not classes.
    """
    return _gradient_scores(risk)["misalignment"]


def network_scores(risk: Risk) -> dict[str, np.ndarray]:
    """Return all of these scores, name to float64 [n]. Cost: two gradients and a forward pass."""
    return {"error_norm": error_norm(risk), **_gradient_scores(risk)}


def _gradient_scores(risk: Risk) -> dict[str, np.ndarray]:
    """Go over the examples label by label, so that sums of one label are held at a time."""
    _check_classes(risk)
    scores = {name: np.zeros(risk.n) for name in ("gradient_norm", "misalignment")}
    labels = risk.split.targets.cpu()
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        found = coherence(risk[members])
        scores["gradient_norm"][members] = found.squared_norms.sqrt().cpu()
        if len(members) > 1:  # the mean of no others is zero, up to rounding
            scores["misalignment"][members] = -found.per_example.cpu()
    return scores


def _check_classes(risk: Risk) -> None:
    if risk.split.num_classes is None:
        raise ValueError("`risk` must have classes for targets; got real values.")


def _error_norms(outputs: Tensor, y: Tensor) -> Tensor:
    probabilities = outputs.double().softmax(-1)
    return (probabilities - F.one_hot(y, probabilities.shape[-1])).norm(dim=-1)
