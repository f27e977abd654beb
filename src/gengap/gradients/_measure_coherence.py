"""Measures the coherence of the gradients of a risk's examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from gengap.risk import Risk

from ._coherence import Coherence
from ._dots import per_example_block_dots, per_example_dots
from ._group_coherence import GroupCoherence
from ._labelling import Groups, Labelling, classes, crossed, labelled
from ._statistics import gradient_statistics

Sums = dict[str, Tensor]
_Normalization = nn.modules.batchnorm._BatchNorm


def coherence(
    risk: Risk,
    *,
    groups: Groups | None = None,
    per_class: bool = False,
    floor: bool = True,
    standard_errors: bool = True,
) -> Coherence:
    r"""Measure how much the gradients of a risk's examples have in common.

    $\alpha = \frac{\|\mathbb{E} g\|^2}{\mathbb{E} \|g\|^2}$ and m-coherence, $n$ times the $\alpha$
    of a sample of $n$; whole, by layer, by example and by group.

    Cost: one pass for norms and sum. Standard errors and single examples take a second, for the
    inner products with the sum; those of groups one more, and of classes one more. A pass goes
    once over the examples, at nearly the price of a gradient. Each group takes p numbers in
    float64.

    Args:
        risk: Model, loss and examples. Its model must be in evaluation mode, as a risk puts it.
        groups: One label an example, [n]: numbers, booleans or strings; or "changed" for the
            examples that a corruption left alone against those that it changed.
        per_class: Tell the classes of the targets apart.
        floor: Whether `alpha` and `m_coherence` keep what a sample of unrelated gradients has on
            average, 1 / n and 1. False takes it away, also by layer and by group.
        standard_errors: Whether to make the second pass. Without it, standard errors are NaN, and
            single examples and null worlds are not told.

    Returns:
        The result, with `.alpha`, `.m_coherence`, `.unbiased_alpha`, `.standard_error`,
        `.per_layer`, `.per_example`, `.groups`, `.classes`.

    Raises:
        TypeError: `risk` is none.
        ValueError: A layer is in training mode, or the labels do not fit the examples.

    Examples:
        >>> from gengap.gradients import six_weights
        >>> train, _ = six_weights()
        >>> found = coherence(train)
        >>> round(found.alpha, 12), round(found.m_coherence, 12), found.floor
        (0.625, 2.5, 0.25)

    Source:
        Chatterjee and Zielinski (2022), arXiv:2203.10036; m-coherence: Zielinski, Krishnan and
        Chatterjee (2020), arXiv:2008.01217. Unbiased form and standard error are ours.
    """
    if not isinstance(risk, Risk):
        raise TypeError(
            f"`risk` must be a gengap.Risk; got a {type(risk).__name__}. gengap.Risk(model, split) "
            "makes one."
        )
    check_evaluation_mode(risk.model)
    by_class = classes(risk.split) if per_class else None
    by_group = labelled(risk.split, groups) if groups is not None else None
    passed = _pass(risk, [part for part in (by_class, by_group) if part is not None])
    dots = None
    if standard_errors:
        dots = {k: _ready(v) for k, v in per_example_block_dots(risk, passed.total).items()}
    return Coherence(
        block_squared_norms=passed.norms,
        block_dots=dots,
        block_sums={name: float(value.square().sum()) for name, value in passed.total.items()},
        keeps_floor=floor,
        rounding=torch.finfo(risk.dtype).eps,
        groups=passed.between(risk, by_group, dots, floor),
        classes=passed.between(risk, by_class, dots, floor),
    )


def check_evaluation_mode(model: nn.Module) -> None:
    """Require that no layer is in training mode.

    Raises:
        ValueError: One is; the sentence says what to do.
    """
    training = {name or ".": module for name, module in model.named_modules() if module.training}
    for name, module in training.items():
        if isinstance(module, _Normalization):
            raise ValueError(
                f"`risk.model` must be in evaluation mode, but its BatchNorm layer {name!r} is in "
                "training mode, where an example's gradient depends on the others in its batch. "
                "Call risk.model.eval(), which takes the running statistics; or measure whole "
                "batches in training mode with gengap.gradients.minibatch_coherence."
            )
    if training:
        raise ValueError(
            f"`risk.model` must be in evaluation mode, but its layer {next(iter(training))!r} is "
            "in training mode. Call risk.model.eval()."
        )


@final
@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What one pass gives: norms by parameter, and sums of all and of each labelling's groups."""

    norms: dict[str, Tensor]
    total: Sums
    sums: dict[Labelling, list[Sums]] = field(default_factory=dict)

    def between(
        self,
        risk: Risk,
        labelling: Labelling | None,
        dots: Mapping[str, Tensor] | None,
        floor: bool,
    ) -> GroupCoherence | None:
        """Compare the groups of a labelling; with a pass over the examples if there are dots."""
        if labelling is None:
            return None
        sums = self.sums[labelling]
        own = None
        if dots is not None:
            own = torch.zeros(risk.n, dtype=torch.float64)
            for group, value in enumerate(sums):
                members = labelling.members(group)
                own[members] = _ready(per_example_dots(risk[members], value))
        return GroupCoherence(
            labelling=labelling,
            sum_products=_products(sums),
            squared_norms=torch.stack(list(self.norms.values())).sum(0),
            own_dots=own,
            dots=None if dots is None else torch.stack(list(dots.values())).sum(0),
            keeps_floor=floor,
            rounding=torch.finfo(risk.dtype).eps,
        )


def _pass(risk: Risk, labellings: list[Labelling]) -> _Pass:
    """Go over the examples once: as they come, or cell by cell where groups are asked for."""
    if not labellings:
        found = gradient_statistics(risk)
        norms = {name: _ready(values) for name, values in found.block_squared_norms.items()}
        return _Pass(norms=norms, total=dict(found.sum))
    norms = {name: torch.zeros(risk.n, dtype=torch.float64) for name in risk.params}
    sums: dict[Labelling, list[Sums]] = {part: [{} for _ in part.names] for part in labellings}
    cells = crossed(labellings)
    for cell, groups in enumerate(cells.names):
        members = cells.members(cell)
        found = gradient_statistics(risk[members])
        for name, values in found.block_squared_norms.items():
            norms[name][members] = _ready(values)
        for part, group in zip(labellings, groups, strict=True):  # type: ignore[call-overload]
            _add(sums[part][group], found.sum)
    total: Sums = {}
    for value in sums[labellings[0]]:
        _add(total, value)
    return _Pass(norms=norms, total=total, sums=sums)


def _add(total: Sums, values: Mapping[str, Tensor]) -> None:
    """Add gradients to a total, without changing the tensors of either."""
    for name, value in values.items():
        total[name] = total[name] + value if name in total else value


def _products(sums: list[Sums]) -> Tensor:
    """Return the inner products of gradients, float64 [k, k] on the CPU."""
    products = torch.zeros(len(sums), len(sums), dtype=torch.float64)
    for name in sums[0]:
        stacked = torch.stack([value[name].double().flatten() for value in sums])
        products += (stacked @ stacked.T).cpu()
    return products


def _ready(values: Tensor) -> Tensor:
    return values.detach().double().cpu()
