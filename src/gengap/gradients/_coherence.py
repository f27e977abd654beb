"""Coherence: how much the gradients of single examples have in common."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from ._group_coherence import GroupCoherence
from ._layers import by_layer
from ._sample_coherence import (
    NAN,
    alignments,
    jackknife_error,
    ratio,
    sample_m_coherence,
    sample_unbiased_alpha,
)

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("alpha", "m_coherence", "unbiased_alpha", "standard_error", "norm_share")


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Coherence:
    r"""How much the gradients $g_i$ of n examples have in common; `coherence` measures it.

    All numbers are shares or counts of examples, and do not change when every gradient is
    multiplied by one number. They do change with the parametrization: see the concept page.

    Attributes:
        block_squared_norms: Squared norm of every example's gradient with respect to each
            parameter, name to float64 [n].
        block_dots: Inner product of every example's gradient with the sum of all, by parameter,
            name to float64 [n]; None where standard errors were not asked for.
        block_sums: Squared norm of the sum of the gradients, by parameter.
        keeps_floor: Whether `alpha` and `m_coherence` keep the finite-sample floor.
        rounding: Of the gradients' numbers, as a share of each: 1.2e-7 in float32.
        groups: Coherence of the groups asked for; or None.
        classes: Coherence of the classes; or None.
    """

    block_squared_norms: dict[str, Tensor]
    block_dots: dict[str, Tensor] | None
    block_sums: dict[str, float]
    keeps_floor: bool = True
    rounding: float = 2.0**-52
    groups: GroupCoherence | None = None
    classes: GroupCoherence | None = None

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.squared_norms)

    @property
    def squared_norms(self) -> Tensor:
        """Squared norm of every example's gradient, float64 [n]."""
        return torch.stack(list(self.block_squared_norms.values())).sum(0)

    @property
    def dots(self) -> Tensor:
        """Inner product of every example's gradient with the sum of all, float64 [n].

        Raises:
            ValueError: Standard errors, which take these, were not asked for.
        """
        if self.block_dots is None:
            raise ValueError(
                "`standard_errors` must be True for what is told of single examples: it takes a "
                "second pass; got False."
            )
        return torch.stack(list(self.block_dots.values())).sum(0)

    @property
    def alpha(self) -> float:
        r"""Coherence $\frac{\|\sum g_i\|^2}{n \sum \|g_i\|^2}$, in [0, 1].

        It is `floor` on average where the gradients have nothing in common, 1 where all are
        equal, and 0 where their mean is zero. NaN where all gradients are zero. With the floor
        taken away it is `unbiased_alpha`.
        """
        return self.m_coherence / self.n if self.keeps_floor else self.unbiased_alpha

    @property
    def m_coherence(self) -> float:
        r"""$\frac{\|\sum g_i\|^2}{\sum \|g_i\|^2}$, in [0, n], in examples.

        How many of the n examples, itself included, a small step along one example's gradient
        helps, on average. With the floor taken away one less: itself not included.
        """
        of_sum, of_each = sum(self.block_sums.values()), float(self.squared_norms.sum())
        value = sample_m_coherence(of_sum, of_each, self.n)
        return value if self.keeps_floor else value - 1

    @property
    def floor(self) -> float:
        """What `alpha` is on average where nothing is in common: 1 / n, or 0 if taken away.

        Exact for gradients that are orthogonal, or as likely as their opposites.
        """
        return 1 / self.n if self.keeps_floor else 0.0

    @property
    def unbiased_alpha(self) -> float:
        r"""Mean inner product of two different examples' gradients over the mean squared norm.

        $\hat\alpha = \frac{\|\sum g_i\|^2 - \sum \|g_i\|^2}{(n - 1) \sum \|g_i\|^2}$

        Estimates the alpha of the distribution that the examples come from, with a relative bias
        of order 1 / n, and too large, by several times even, where a few examples have nearly all
        of the norm: see the concept page. In [-1 / (n - 1), 1], below 0 by chance or where
        examples work against each other. This is what compares between samples of different
        sizes. NaN for one example.
        """
        return sample_unbiased_alpha(
            sum(self.block_sums.values()), float(self.squared_norms.sum()), self.n
        )

    @property
    def standard_error(self) -> float:
        """Delete-one jackknife standard error of `unbiased_alpha`; that of `alpha` is no larger.

        Over the draw of the examples, the parameters held fixed; on the examples trained on, it
        tells the spread of such samples, not the distance to fresh ones. Falls as the root of n;
        where nothing is in common as n, and is too large there, by the root of 2 and with less
        than ten examples by more. Two of it either way cover the truth about 95 times of 100 where
        squared norms are alike, and as rarely as every other time where a few examples have nearly
        all of the norm. NaN for fewer than three examples, without the second pass, and where one
        gradient's rounding hides all others (see `per_example`).
        """
        if self.block_dots is None:
            return NAN
        of_sum = sum(self.block_sums.values())
        return jackknife_error(of_sum, self.squared_norms, self.dots, rounding=self.rounding)

    @property
    def per_example(self) -> Tensor:
        """Cosine of every example's gradient and the mean of the others', float64 [n].

        In [-1, 1]; 0 where one of the two is zero but for rounding. Low or negative: the example is
        learned, if at all, against the others. NaN where one gradient is so long that its rounding
        hides the others: in float32, 300 times as long as all others together.
        """
        of_sum = sum(self.block_sums.values())
        return alignments(of_sum, self.squared_norms, self.dots, rounding=self.rounding)

    @property
    def per_layer(self) -> "pd.DataFrame":
        r"""One row a module with parameters of its own, by name; "." is the model itself.

        Columns: `alpha`, `m_coherence`, `unbiased_alpha`, `standard_error` as for the whole, and
        `norm_share` $f_j = \sum_i \|g_{ij}\|^2 / \sum_i \|g_i\|^2$. The whole network's alpha, and
        its unbiased alpha, are the means of the layers', weighted by $f_j$.
        """
        return self._frame(by_layer(self.block_squared_norms), "layer")

    @property
    def per_parameter(self) -> "pd.DataFrame":
        """One row a parameter tensor; columns as of `per_layer`."""
        return self._frame({name: [name] for name in self.block_squared_norms}, "parameter")

    @property
    def per_group(self) -> "pd.DataFrame":
        """One row a group: `groups.frame`.

        Raises:
            ValueError: No groups were asked for.
        """
        if self.groups is None:
            raise ValueError("`groups` must be given to tell groups apart; got None.")
        return self.groups.frame

    @property
    def per_class(self) -> "pd.DataFrame":
        """One row a class: `classes.frame`.

        Raises:
            ValueError: Classes were not asked for.
        """
        if self.classes is None:
            raise ValueError("`per_class` must be True to tell classes apart; got False.")
        return self.classes.frame

    def _frame(self, parts: dict[str, list[str]], axis: str) -> "pd.DataFrame":
        import pandas as pd

        whole = float(self.squared_norms.sum())
        rows = [self._row(self._part(names), whole) for names in parts.values()]
        return pd.DataFrame(rows, index=pd.Index(list(parts), name=axis), columns=list(_COLUMNS))

    def _part(self, names: list[str]) -> "Coherence":
        dots = self.block_dots
        return Coherence(
            block_squared_norms={name: self.block_squared_norms[name] for name in names},
            block_dots=None if dots is None else {name: dots[name] for name in names},
            block_sums={name: self.block_sums[name] for name in names},
            keeps_floor=self.keeps_floor,
            rounding=self.rounding,
        )

    @staticmethod
    def _row(part: "Coherence", whole: float) -> tuple[float, ...]:
        share = ratio(float(part.squared_norms.sum()), whole)
        return part.alpha, part.m_coherence, part.unbiased_alpha, part.standard_error, share

    def __repr__(self) -> str:
        floor = f"(floor {self.floor:.2g})" if self.keeps_floor else "(floor taken away)"
        return (
            f"Coherence(n={self.n}, alpha={self.alpha:.4g} {floor}, "
            f"m_coherence={self.m_coherence:.4g}, unbiased_alpha={self.unbiased_alpha:.4g} "
            f"± {self.standard_error:.2g})"
        )

    def _repr_html_(self) -> str:
        import pandas as pd

        whole = pd.DataFrame([self._row(self, float(self.squared_norms.sum()))], index=["whole"])
        whole.columns = pd.Index(_COLUMNS)
        shown = [pd.concat([whole, self.per_layer])]
        shown += [part.frame for part in (self.classes, self.groups) if part is not None]
        tables = "".join(frame.to_html(float_format="{:.4g}".format, border=0) for frame in shown)
        return f"<p>{escape(repr(self))}</p>{tables}"
