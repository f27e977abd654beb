"""Scores of single examples from a trained network; higher is more suspicious."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gengap.gradients import Coherence, coherence, per_example_squared_norms
from gengap.risk import Risk


def error_norm(risk: Risk) -> np.ndarray:
    r"""Return $\|p(x_i) - e_{y_i}\|_2$, float64 [n], in [0, $\sqrt 2$]. Cost: a forward pass.

    Source:
        The EL2N of Paul et al. (2021), arXiv:2107.07075, who take networks after a few epochs.

    Raises:
        ValueError: The targets are not classes.
    """
    if risk.split.num_classes is None:
        raise ValueError("`risk` must have classes for targets; got real values.")
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
    r"""Return minus the cosine of an example's gradient and the others' mean, float64 [n].

    $-\frac{\langle g_i, \bar g_{-i} \rangle}{\|g_i\| \, \|\bar g_{-i}\|}$, in [-1, 1]

    Positive where learning the others unlearns the example, as a wrong label does; 0 where one of
    the two is zero. Cost: two gradients.

    Source:
        The per-example form of coherence; Chatterjee and Zielinski (2022), arXiv:2203.10036.
    """
    return _misalignment(coherence(risk))


def network_scores(risk: Risk) -> dict[str, np.ndarray]:
    """Return all of these scores, name to float64 [n]. Cost: two gradients and a forward pass."""
    found = coherence(risk)
    return {
        "error_norm": error_norm(risk),
        "gradient_norm": found.squared_norms.sqrt().numpy(),
        "misalignment": _misalignment(found),
    }


def _misalignment(found: Coherence) -> np.ndarray:
    return -found.per_example.cpu().numpy()


def _error_norms(outputs: Tensor, y: Tensor) -> Tensor:
    probabilities = outputs.double().softmax(-1)
    return (probabilities - F.one_hot(y, probabilities.shape[-1])).norm(dim=-1)
