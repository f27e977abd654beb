"""What is told by the inner products of all pairs of gradients: stiffness and confusion."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gengap._checks import check_choice

from ._labelling import Groups, labelled_rows

if TYPE_CHECKING:
    import pandas as pd


def stiffness(gram: Tensor, *, kind: Literal["cosine", "sign"] = "cosine") -> float:
    r"""Return the mean cosine, or sign of the inner product, of two different gradients.

    $\mathbb{E}_{i \ne j} \cos(g_i, g_j)$ or $\mathbb{E}_{i \ne j} \, \mathrm{sign}
    \langle g_i, g_j \rangle$, in [-1, 1]; 0 for a pair with a zero gradient. The cosine form is
    the unbiased alpha where all gradients have one norm. Unlike coherence it weighs every pair
    alike, however small its gradients, so that it does not tell how the loss changes.

    Args:
        gram: Inner products of the gradients, [n, n]. Cost: O(n^2) more.
        kind: "cosine" or "sign".

    Raises:
        ValueError: `gram` is not square, or of fewer than two gradients; or no such `kind`.

    Source:
        Fort et al. (2019), arXiv:1901.09491.
    """
    similar = _similarities(gram, kind)
    n = len(similar)
    return float(similar.sum() - similar.diagonal().sum()) / (n * (n - 1))


def stiffness_between(
    gram: Tensor, groups: Groups, *, kind: Literal["cosine", "sign"] = "cosine"
) -> "pd.DataFrame":
    """Return the stiffness of pairs by their groups; by class, the paper's class matrix.

    Args:
        gram: Inner products of the gradients, [n, n]. Cost: O(n^2) more.
        groups: One label an example, [n]; classes, or "train" and "test".
        kind: "cosine" or "sign".

    Returns:
        A symmetric frame [k, k] in [-1, 1], over pairs of two different examples. NaN on the
        diagonal for a group of one.

    Raises:
        ValueError: `gram` is not square, or of fewer than two gradients; no such `kind`; or the
            labels do not fit.

    Source:
        Fort et al. (2019), arXiv:1901.09491.
    """
    import pandas as pd

    similar = _similarities(gram, kind)
    labelling = labelled_rows(groups, n=len(similar))
    similar.fill_diagonal_(0)
    members = torch.nn.functional.one_hot(labelling.index, len(labelling.names)).double()
    counts = members.sum(0)
    pairs = counts[:, None] * counts - counts.diag()
    means = members.T @ similar @ members / pairs.where(pairs > 0, torch.nan)
    index = pd.Index(labelling.names, name="group")
    return pd.DataFrame(means.numpy(), index=index, columns=index)


def gradient_confusion(gram: Tensor, *, kind: Literal["product", "cosine"] = "product") -> float:
    r"""Return the least inner product of two gradients, $\min_{i \ne j} \langle g_i, g_j \rangle$.

    The paper's confusion bound is $\eta = \max(0, -\min)$: the more negative, the more two
    examples work against each other. In units of the squared gradient, or in [-1, 1] as a
    cosine. A minimum over pairs falls as n grows: compare at equal n.

    Args:
        gram: Inner products of the gradients, [n, n]. Cost: O(n^2) more.
        kind: "product" as in the definition, or "cosine", as the paper's plots.

    Raises:
        ValueError: `gram` is not square, or of fewer than two gradients; or no such `kind`.

    Source:
        Sankararaman et al. (2020), arXiv:1904.06963.
    """
    check_choice("kind", kind, ("product", "cosine"))
    values = _checked(gram).clone() if kind == "product" else _similarities(gram, "cosine")
    return float(values.fill_diagonal_(torch.inf).min())


def _checked(gram: Tensor) -> Tensor:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or len(gram) < 2:
        raise ValueError(
            "`gram` must hold the inner products of at least two gradients, shape [n, n]; got "
            f"shape {tuple(gram.shape)}."
        )
    return gram.detach().double().cpu()


def _similarities(gram: Tensor, kind: str) -> Tensor:
    """Return cosines or signs, [n, n]; 0 for a zero gradient."""
    check_choice("kind", kind, ("cosine", "sign"))
    products = _checked(gram)
    if kind == "sign":
        return products.sign()
    norms = products.diagonal().clamp(min=0).sqrt()
    scale = norms[:, None] * norms
    return (products / scale.where(scale > 0, 1.0)).clamp(-1, 1)
