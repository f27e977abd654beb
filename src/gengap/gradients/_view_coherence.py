"""Coherence under augmentation: views of one example, and examples, told apart."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gengap._checks import check_count
from gengap._streams import streams
from gengap.data import Augmentation, Preprocessing
from gengap.risk import Risk

from ._blocks import per_example_gradients
from ._dots import per_example_dots
from ._measure_coherence import check_evaluation_mode
from ._sample_coherence import (
    NAN,
    delete_one_error,
    hides_others,
    ratio,
    sample_m_coherence,
    sum_of_others,
)

_EXAMPLES_DRAWN_AT_ONCE = 64
_FLOATS_AT_ONCE = 1 << 25


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ViewCoherence:
    r"""Coherence of augmented examples, of which each has many views; `view_coherence` measures it.

    With $g_{za}$ the gradient on view $a$ of example $z$ and $g_z = \mathbb{E}_a g_{za}$:
    $\alpha_{view} = \|\mathbb{E} g\|^2 / \mathbb{E} \|g_{za}\|^2$, $\alpha_{example} =
    \|\mathbb{E} g\|^2 / \mathbb{E} \|g_z\|^2$, $\rho = \mathbb{E} \|g_z\|^2 / \mathbb{E}
    \|g_{za}\|^2$, and $\alpha_{view} = \alpha_{example} \, \rho$, exactly in both forms below.

    Attributes:
        num_views: Views drawn of each example, v.
        view_norms: Mean of the squared norms of each example's view gradients, float64 [n].
        example_norms: Squared norm of each example's mean view gradient, float64 [n].
        of_sum: Squared norm of the sum over the examples of their mean view gradients.
        dots: Inner product of each example's mean view gradient with that sum, float64 [n]; or
            None, where standard errors were not asked for.
        rounding: Of the gradients' numbers, as a share of each: 1.2e-7 in float32.
    """

    num_views: int
    view_norms: Tensor
    example_norms: Tensor
    of_sum: float
    dots: Tensor | None
    rounding: float = 2.0**-52

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.view_norms)

    @property
    def alpha_view(self) -> float:
        """Coherence of all n v views as one sample, in [0, 1]: that of a step on one view."""
        return ratio(self.of_sum, self.n * float(self.view_norms.sum()))

    @property
    def alpha_example(self) -> float:
        """Coherence of the n view-averaged gradients, in [0, 1]; with the floor 1 / n."""
        return sample_m_coherence(self.of_sum, float(self.example_norms.sum()), self.n) / self.n

    @property
    def rho(self) -> float:
        """Coherence of the views within an example, in [0, 1]; with the floor 1 / v."""
        return min(ratio(float(self.example_norms.sum()), float(self.view_norms.sum())), 1.0)

    @property
    def unbiased_alpha_view(self) -> float:
        """`alpha_view` from pairs of different examples: without floors; may be below 0."""
        return self._unbiased()[0]

    @property
    def unbiased_alpha_example(self) -> float:
        """`alpha_example` from pairs of different examples and of different views.

        NaN where the pairs of views have no positive mean inner product. A ratio of two estimates:
        where rho is less than several standard errors from 0 it may lie far outside of [-1, 1],
        and is not to be trusted.
        """
        return self._unbiased()[1]

    @property
    def unbiased_rho(self) -> float:
        """`rho` from pairs of different views: without the floor; may be below 0."""
        return self._unbiased()[2]

    @property
    def standard_errors(self) -> dict[str, float]:
        """Delete-one-example jackknife standard errors of the three unbiased numbers.

        Keys: "alpha_view", "alpha_example", "rho". Those of the alphas are too large where examples
        have nothing in common, by the root of 2. NaN for fewer than three examples, without the
        second pass, where one gradient is so long that its rounding hides all others, and that of
        "alpha_example" where the number is NaN without one of the examples.
        """
        names = ("alpha_view", "alpha_example", "rho")
        norms = (self.example_norms, self.view_norms)
        hidden = any(bool(hides_others(each, self.rounding).any()) for each in norms)
        if self.dots is None or self.n < 3 or hidden:
            return dict.fromkeys(names, NAN)
        of_sums = self.of_sum - 2 * self.dots + self.example_norms
        left_out = torch.tensor(
            [
                _unbiased(of_sum, of_examples, of_views, n=self.n - 1, v=self.num_views)
                for of_sum, of_examples, of_views in zip(
                    of_sums.tolist(),
                    sum_of_others(self.example_norms).tolist(),
                    sum_of_others(self.view_norms).tolist(),
                    strict=True,
                )
            ],
            dtype=torch.float64,
        )
        return dict(zip(names, delete_one_error(left_out).tolist(), strict=True))

    def _unbiased(self) -> tuple[float, float, float]:
        of_examples, of_views = float(self.example_norms.sum()), float(self.view_norms.sum())
        return _unbiased(self.of_sum, of_examples, of_views, n=self.n, v=self.num_views)

    def __repr__(self) -> str:
        errors = self.standard_errors
        return (
            f"ViewCoherence(n={self.n}, num_views={self.num_views}, "
            f"unbiased_alpha_view={self.unbiased_alpha_view:.4g} ± {errors['alpha_view']:.2g}, "
            f"unbiased_alpha_example={self.unbiased_alpha_example:.4g} "
            f"± {errors['alpha_example']:.2g}, "
            f"unbiased_rho={self.unbiased_rho:.4g} ± {errors['rho']:.2g})"
        )


def _unbiased(
    of_sum: float, of_examples: float, of_views: float, *, n: int, v: int
) -> tuple[float, float, float]:
    """Return alpha of views, alpha of examples and rho, from sums over pairs that differ."""
    mean = ratio(of_sum - of_examples, n * (n - 1))
    example = (v * of_examples - of_views) / (n * (v - 1))
    view = of_views / n
    within = mean / example if example > 0 else NAN
    return ratio(mean, view), within, ratio(example, view)


def view_coherence(
    risk: Risk,
    augmentation: Augmentation,
    *,
    num_views: int = 8,
    seed: int = 0,
    standard_errors: bool = True,
) -> ViewCoherence:
    """Measure coherence on augmented examples, with views and examples told apart.

    Cost: n `num_views` materialized gradients, some tens of millions of numbers at a time;
    standard errors take another pass over the views.

    Args:
        risk: Model, loss and examples, which must be images.
        augmentation: How a view is drawn.
        num_views: Views of each example, at least 2. More of them make rho less noisy.
        seed: Where the views come from; they do not depend on the risk's chunk.
        standard_errors: Whether to make the second pass.

    Returns:
        The result, with `.unbiased_alpha_view`, `.unbiased_alpha_example`, `.unbiased_rho` and
        `.standard_errors`; and the same with finite-sample floors, without `unbiased_`.

    Raises:
        ValueError: Fewer than two views, or a layer in training mode.

    Source:
        Ours: the decomposition is not in Chatterjee and Zielinski (2022), arXiv:2203.10036, whose
        definition it applies to views and to view-averaged gradients.
    """
    check_count("num_views", num_views, least=2)
    check_evaluation_mode(risk.model)
    total = {k: torch.zeros_like(v, dtype=torch.float64) for k, v in risk.params.items()}
    of_views, of_examples = [], []
    for part in _views(risk, augmentation, num_views, seed):
        each = torch.zeros(part.n // num_views, dtype=torch.float64)
        mean_each = torch.zeros_like(each)
        for name, gradients in per_example_gradients(part):
            g = gradients.double().unflatten(0, (-1, num_views))
            mean = g.mean(1)
            each += g.square().flatten(1).sum(1).cpu() / num_views
            mean_each += mean.square().flatten(1).sum(1).cpu()
            total[name] += mean.sum(0)
        of_views.append(each)
        of_examples.append(mean_each)
    dots = None
    if standard_errors:
        parts = _views(risk, augmentation, num_views, seed)
        found = [per_example_dots(part, total).double().cpu() for part in parts]
        dots = torch.cat(found).unflatten(0, (-1, num_views)).mean(1)
    return ViewCoherence(
        num_views=num_views,
        view_norms=torch.cat(of_views),
        example_norms=torch.cat(of_examples),
        of_sum=sum(float(value.square().sum()) for value in total.values()),
        dots=dots,
        rounding=torch.finfo(risk.dtype).eps,
    )


def _views(risk: Risk, augmentation: Augmentation, num_views: int, seed: int) -> Iterator[Risk]:
    """Yield risks of a few examples each, the views of an example one after the other."""
    size = sum(value.numel() for value in risk.params.values())
    step = max(1, _FLOATS_AT_ONCE // (num_views * size))
    stream = streams(seed)
    for start in range(0, risk.n, _EXAMPLES_DRAWN_AT_ONCE):
        chosen = torch.arange(start, min(start + _EXAMPLES_DRAWN_AT_ONCE, risk.n))
        x, y = risk.split.batch(
            chosen.repeat_interleave(num_views),
            augmentation=augmentation,
            generator=stream("views", start),
        )
        drawn = replace(
            risk.split,
            inputs=x,
            targets=y,
            preprocessing=Preprocessing(),
            changed=torch.zeros(len(x), dtype=torch.bool, device=y.device),
            true_targets=y,
        )
        rows = step * num_views
        for first in range(0, len(x), rows):
            yield risk.on(drawn[first : first + rows])
