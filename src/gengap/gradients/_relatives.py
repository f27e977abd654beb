"""Gradient diversity and the simple noise scale: coherence under other names."""

import math

from ._batch_coherence import BatchCoherence
from ._coherence import Coherence

_ROUNDING = 2.0**-46
"""Alpha that a zero mean may be given by rounding."""


def gradient_diversity(found: Coherence | BatchCoherence) -> float:
    r"""Return the gradient diversity, $\frac{\sum \|g_i\|^2}{\|\sum g_i\|^2}$.

    The reciprocal of m-coherence, floor included. In [1 / n, inf], in 1 / examples; 1 where
    gradients are orthogonal, infinite where their mean is zero. Times n it bounds the batch size
    up to which a step of a batch does as much as its examples one by one.

    Args:
        found: What was measured. Cost: nothing more.

    Source:
        Yin et al. (2018), arXiv:1706.05699.
    """
    m_coherence = found.n * _alpha(found)
    return 1 / m_coherence if m_coherence else math.inf


def noise_scale(found: Coherence | BatchCoherence, *, unbiased: bool = True) -> float:
    r"""Return the simple noise scale, $B = \frac{\mathrm{tr} \Sigma}{\|\mathbb{E} g\|^2}$.

    In examples, in [0, inf]: the batch size at which noise and mean of a batch's gradient are
    equally large. $\alpha = \frac{1}{1 + B}$, in both forms, where alpha is positive.

    Args:
        found: What was measured. Cost: nothing more.
        unbiased: Take unbiased estimates of both, whose ratio is infinite where the mean is
            lost in the noise; False takes the sample's own moments: about n - 1 or more where
            nothing is in common.

    Source:
        McCandlish et al. (2018), arXiv:1812.06162.
    """
    alpha = found.unbiased_alpha if unbiased else _alpha(found)
    if math.isnan(alpha):
        return alpha
    return max(0.0, 1 / alpha - 1) if alpha > 0 else math.inf


def _alpha(found: Coherence | BatchCoherence) -> float:
    """Return alpha of the sample with its floor, whether or not the result shows it; at least 0."""
    shown = getattr(found, "keeps_floor", True)
    alpha = (found.m_coherence if shown else found.m_coherence + 1) / found.n
    return alpha if not alpha < _ROUNDING else 0.0
