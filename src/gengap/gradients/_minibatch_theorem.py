"""How coherence grows when gradients are averaged over batches, and back."""

from gengap._checks import check_count, check_probability


def alpha_of_batches(alpha: float, batch_size: int) -> float:
    r"""Return the coherence of means of `batch_size` independent gradients of coherence alpha.

    $\alpha_W = \frac{k \alpha}{1 + (k - 1) \alpha} \ge \alpha$

    About k times alpha where alpha is far below 1 / k: coherence of batch gradients must never
    be reported as that of examples.

    Args:
        alpha: Coherence of the examples, in [0, 1]; of their distribution, not of a sample.
        batch_size: Examples in a batch, k.

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036, the stylized minibatch theorem.
    """
    check_probability("alpha", alpha)
    batch_size = check_count("batch_size", batch_size)
    return batch_size * alpha / (1 + (batch_size - 1) * alpha)


def alpha_of_examples(alpha: float, batch_size: int) -> float:
    r"""Return the coherence of examples whose means over batches have coherence alpha.

    $\alpha_V = \frac{\alpha}{k - (k - 1) \alpha}$, the inverse of `alpha_of_batches`.

    From a *sample* of B batches it keeps a finite-sample floor, and is too large as an estimate of
    the alpha of the sample's n = B k examples, by up to n / (n - k + 1): 5 % at 20 batches.
    `coherence_from_batches` corrects for both.

    Args:
        alpha: Coherence of the batches' gradients, in [0, 1].
        batch_size: Examples in a batch, k.

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036.
    """
    check_probability("alpha", alpha)
    batch_size = check_count("batch_size", batch_size)
    return alpha / (batch_size - (batch_size - 1) * alpha)
