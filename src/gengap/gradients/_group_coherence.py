"""Coherence within and between groups of examples, and each group's share of the gradient."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor

from gengap._checks import check_choice, check_count
from gengap._streams import streams

from ._labelling import Labelling
from ._sample_coherence import (
    NAN,
    jackknife_error,
    ratio,
    sample_m_coherence,
    sample_unbiased_alpha,
)

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GroupCoherence:
    r"""Coherence of groups of examples, alone and with each other.

    Attributes:
        labelling: The groups' names and the group of every example.
        sum_products: Inner products of the groups' summed gradients $\langle S_a, S_b \rangle$,
            float64 [k, k].
        squared_norms: Squared norm of every example's gradient, float64 [n].
        own_dots: Inner product of every example's gradient with its group's sum, float64 [n];
            None where standard errors were not asked for.
        dots: Inner product of every example's gradient with the sum of all, float64 [n]; or None.
        keeps_floor: Whether alpha and m-coherence keep the finite-sample floor.
        rounding: Of the gradients, as a share of each number: 1.2e-7 in float32.
    """

    labelling: Labelling
    sum_products: Tensor
    squared_norms: Tensor
    own_dots: Tensor | None
    dots: Tensor | None
    keeps_floor: bool = True
    rounding: float = 2.0**-52

    def __repr__(self) -> str:
        return f"GroupCoherence({', '.join(map(str, self.labelling.names))})"

    @property
    def frame(self) -> "pd.DataFrame":
        r"""One row a group, indexed by its name.

        Columns: `n`; `alpha`, `m_coherence`, `unbiased_alpha` and its `standard_error`, of the
        group by itself; `share`, the group's part of the gradient; `norm_share`, its part of the
        examples' squared norms. Groups of different sizes compare by `unbiased_alpha`, not by the
        others.
        """
        import pandas as pd

        rows = [self._row(group) for group in range(len(self.labelling.names))]
        return pd.DataFrame(rows, index=pd.Index(self.labelling.names, name="group"))

    def _row(self, group: int) -> dict[str, float]:
        members = self.labelling.members(group)
        n, of_sum = len(members), float(self.sum_products[group, group])
        squares = self.squared_norms[members]
        of_each = float(squares.sum())
        m_coherence = sample_m_coherence(of_sum, of_each, n)
        unbiased = sample_unbiased_alpha(of_sum, of_each, n)
        error = NAN
        if self.own_dots is not None:
            own = self.own_dots[members]
            error = jackknife_error(of_sum, squares, own, rounding=self.rounding)
        return {
            "n": n,
            "alpha": m_coherence / n if self.keeps_floor else unbiased,
            "m_coherence": m_coherence if self.keeps_floor else m_coherence - 1,
            "unbiased_alpha": unbiased,
            "standard_error": error,
            "share": self._shares()[group],
            "norm_share": ratio(of_each, float(self.squared_norms.sum())),
        }

    @property
    def shares(self) -> dict[object, float]:
        r"""Each group's part of the gradient, $\langle g, g^a \rangle / \langle g, g \rangle$.

        $g^a$ is the sum over the group, $g = \sum_a g^a$. They add up to 1; one may be negative,
        and another then above 1. To first order it is the share of a small step's decrease of
        the loss that the group's examples bring about.

        Source:
            Chatterjee (2020), arXiv:2002.10657: $f^p$ and $f^c$ of the pristine and
            the corrupt examples.
        """
        return dict(zip(self.labelling.names, self._shares(), strict=True))

    def _shares(self) -> list[float]:
        whole = float(self.sum_products.sum())
        return [ratio(part, whole) for part in self.sum_products.sum(1).tolist()]

    def between(self, *, normalized: Literal["norms", "cosine"] | None = "norms") -> "pd.DataFrame":
        r"""Return the mean inner product of gradients of two different examples, by their groups.

        $M_{ab} = \frac{\langle S_a, S_b \rangle}{n_a n_b}$ and $M_{aa} =
        \frac{\|S_a\|^2 - \sum_{i \in a} \|g_i\|^2}{n_a (n_a - 1)}$: unbiased for
        $\langle \mathbb{E} g^a, \mathbb{E} g^b \rangle$.

        Args:
            normalized: "norms" divides by the root of the groups' mean squared norms: the diagonal
                is each group's unbiased alpha. "cosine" divides by the root of
                $M_{aa} M_{bb}$: an estimate of the cosine of the groups' mean gradients, which
                a small sample may carry far beyond 1, and NaN where a diagonal is not
                positive. None leaves the inner products, in units of the loss squared over
                those of the parameters squared.

        Returns:
            A symmetric frame [k, k]. NaN on the diagonal for a group of one example; by "norms"
            in the rows of a group whose gradients are all zero.
        """
        import pandas as pd

        check_choice("normalized", normalized, ("norms", "cosine", None))
        products = self._mean_products()
        if normalized == "norms":
            counts = torch.tensor(self.labelling.counts, dtype=torch.float64)
            scale = (self._squares() / counts).sqrt()
            products /= scale[:, None] * scale
        elif normalized == "cosine":
            scale = products.diagonal().clone()
            scale[~(scale > 0)] = NAN
            products /= scale.sqrt()[:, None] * scale.sqrt()
        index = pd.Index(self.labelling.names, name="group")
        return pd.DataFrame(products.numpy(), index=index, columns=index)

    def _squares(self) -> Tensor:
        """Return the sum of the squared norms of each group, [k]."""
        squares = torch.zeros(len(self.labelling.names), dtype=torch.float64)
        return squares.index_add_(0, self.labelling.index, self.squared_norms)

    def _mean_products(self) -> Tensor:
        counts = torch.tensor(self.labelling.counts, dtype=torch.float64)
        pairs = counts[:, None] * counts - counts.diag()
        return (self.sum_products - self._squares().diag()) / pairs.where(pairs > 0, NAN)

    def null_worlds(self, num_worlds: int = 100, *, seed: int = 0) -> "pd.DataFrame":
        """Return the groups' shares of the gradient where membership means nothing.

        Each world gives the groups' names to the examples anew, at random, in the same numbers.
        What the true groups show and these do not is due to the groups, not to their sizes.

        Args:
            num_worlds: How many worlds to draw.
            seed: Where the draws come from. Cost: no pass, O(n) a world.

        Returns:
            One row a world, one column a group; a row adds up to 1.

        Raises:
            ValueError: Inner products were not asked for.

        Source:
            Chatterjee (2020), arXiv:2002.10657.
        """
        import pandas as pd

        check_count("num_worlds", num_worlds)
        if self.dots is None:
            raise ValueError(
                "`standard_errors` must be True for null worlds: they take the inner products "
                "of the second pass; got False."
            )
        k, n = len(self.labelling.names), len(self.dots)
        generator = streams(seed)("null worlds")
        orders = (torch.randperm(n, generator=generator) for _ in range(num_worlds))
        sums = torch.stack([
            self.dots.new_zeros(k).index_add_(0, self.labelling.index[order], self.dots)
            for order in orders
        ])
        shares = sums / self.dots.sum()
        index = pd.RangeIndex(num_worlds, name="world")
        return pd.DataFrame(shares.numpy(), index=index, columns=list(self.labelling.names))
