"""Gradient diversity and the simple noise scale: coherence under other names."""

import math

from ._batch_coherence import BatchCoherence
from ._coherence import Coherence


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
    equally large. $\alpha = \frac{1}{1 + B}$, in both forms.

    Args:
        found: What was measured. Cost: nothing more.
        unbiased: Take unbiased estimates of both, whose ratio is infinite where the mean is
            lost in the noise; False takes the sample's own moments, and is at most n - 1 on
            average.

    Source:
        McCandlish et al. (2018), arXiv:1812.06162.
    """
    alpha = found.unbiased_alpha if unbiased else _alpha(found)
    if math.isnan(alpha):
        return alpha
    return max(0.0, 1 / alpha - 1) if alpha > 0 else math.inf


def _alpha(found: Coherence | BatchCoherence) -> float:
    """Return alpha of the sample with its floor, whether or not the result shows it."""
    if found.n == 1:
        return found.m_coherence + (0 if getattr(found, "keeps_floor", True) else 1)
    return (1 + (found.n - 1) * found.unbiased_alpha) / found.n
