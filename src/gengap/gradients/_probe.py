"""Finds out on three examples how a model's gradients are told apart."""

import weakref
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gengap._reentrant import parameter_gradients
from gengap.risk import Risk

from ._image_layout import faster_forward, faster_last, takes_last
from ._intercept import intercepted
from ._one_part import OnePart
from ._part import Part
from ._plan import Plan
from ._row_owners import Movers
from ._rules import is_whole
from ._trial import Trial
from ._use import Watcher

_PROBED, _COMPARED = 3, 6
_SAME = 1e-3
"""Share of the largest input by which an example alone may differ, for another order of sums."""

_plans: "weakref.WeakKeyDictionary[nn.Module, tuple[object, Plan]]" = weakref.WeakKeyDictionary()


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name: one walk through the modules."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def find_plan(risk: Risk, params: Mapping[str, Tensor]) -> Plan:
    """Return the plan of a risk's model with these parameters trained, made at its first use.

    One example shows nothing that would hold for more: what it gives is not kept.
    """
    key = (risk.split.input_shape, risk.loss, tuple(params))
    held = _plans.get(risk.model)
    if held is None or held[0] != key:
        held = (key, _probe(risk))
        if risk.n > 1:
            _plans[risk.model] = held
    return held[1]


class _Nobody(OnePart):
    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.heard: set[str] = set()

    def used(self, names: tuple[str, ...]) -> None:
        """Remember who is used."""
        super().used(names)
        self.heard.update(names)

    def take(self, name: str, part: Part) -> None:
        """Ask nothing."""


def _probe(risk: Risk) -> Plan:
    """Differentiate the loss of one example of three; where its gradient flows, it lies."""
    rows = min(_PROBED, risk.n)
    plan, shown = Plan(channels_last=faster_last(risk), forward=faster_forward(risk)), rows // 2
    plan.forward_last = plan.forward and takes_last(risk)
    if rows < 2:
        return plan
    refused: set[str] = set()

    def watch(module: str, x: Tensor, delta: Tensor) -> None:
        axis = _axis(x, delta, rows, shown)
        plan.width = max(plan.width, x.numel() // rows, delta.numel() // rows)
        plan.positions |= x.ndim > 2
        if axis is None or plan.axes.get(module, axis) != axis:
            refused.add(module)
        else:
            plan.axes[module] = axis

    beside = _differentiated(risk, plan, rows, watch)
    plan.axes = {module: axis for module, axis in plan.axes.items() if axis}
    if plan.axes:
        beside = _differentiated(risk, plan, rows, None)
    plan.whole |= beside
    refused |= _astray(risk, plan)
    params = {id(p): name for name, p in trained(risk.model).items()}
    for module in refused:
        layer = risk.model.get_submodule(module)
        own = layer.parameters(recurse=is_whole(layer))
        plan.whole |= {params[id(p)] for p in own if id(p) in params}
    return plan


def _differentiated(risk: Risk, plan: Plan, rows: int, watch: Watcher | None) -> set[str]:
    """Return the parameters by which autograd differentiates the loss of an example itself."""
    x, y = (risk.cast(part) for part in risk.split.batch(torch.arange(rows)))
    nobody = _Nobody(Plan())
    nobody.start(rows)
    axes, apart = ({}, {}) if watch else (plan.axes, plan.apart)
    with torch.enable_grad(), intercepted(risk.model, nobody, axes=axes, watch=watch, apart=apart):
        with Movers() as movers:
            outputs = risk.model(x)
        plan.moves |= movers.found
        loss = risk.losses(outputs, y)[rows // 2]
        plan.seen = nobody.heard | (plan.seen or set())
        params = trained(risk.model)
        if not loss.requires_grad:
            return set()
        nobody.differentiates(loss)
        grads = parameter_gradients(loss, list(params.values()))
    return {k for k, g in zip(params, grads, strict=True) if g is not None}


def _astray(risk: Risk, plan: Plan) -> set[str]:
    """Return the layers whose rows are not those of the examples, in their order.

    A model may sort its examples, or turn them around, for some of its layers. What these are
    given of a few examples together, in two orders, is compared with what they are given of each
    alone: examples in order one way are not so the other way.
    """
    chosen = torch.linspace(0, risk.n - 1, min(_COMPARED, risk.n)).long().unique()
    x = risk.cast(risk.split.batch(chosen)[0])
    rows, nobody = range(len(x)), _Nobody(Plan())
    names = {name for name, _ in risk.model.named_modules()}
    with torch.no_grad(), intercepted(risk.model, nobody, axes=plan.axes):
        trial = Trial(risk.model)
        try:
            alone = [trial.inputs(x[i : i + 1], names) for i in rows]
        except Exception:  # no example can be alone: there is nothing to compare with
            return set()
        found: set[str] = set()
        for order in (list(rows), list(rows)[::-1]):
            together = trial.inputs(x[order], names)
            for name in {*together, *(name for one in alone for name in one)}:
                axis, own = plan.axes.get(name, 0), [alone[i].get(name, []) for i in order]
                if not _in_place(together.get(name, []), own, axis):
                    found.add(name)
    return found


def _in_place(together: list[Tensor], alone: list[list[Tensor]], axis: int) -> bool:
    """Say whether the rows in all uses of a layer are those that each example has alone."""
    if any(len(uses) != len(together) for uses in alone):
        return False
    return all(
        _are_rows_of(values, [uses[k] for uses in alone], axis) for k, values in enumerate(together)
    )


def _are_rows_of(together: Tensor, alone: list[Tensor], axis: int) -> bool:
    if any(values.ndim <= axis for values in (together, *alone)):
        return False
    rows = [values.movedim(axis, 0) for values in alone]
    if any(row.shape != rows[0].shape for row in rows):
        return False
    singly = torch.cat(rows)
    values = together.movedim(axis, 0)
    if values.shape != singly.shape:
        return False
    if not together.is_floating_point() or not values.numel():
        return torch.equal(singly, values)
    share = max(_SAME, 32 * torch.finfo(together.dtype).eps)
    return not bool((singly - values).abs().max() > share * singly.abs().max())


def _axis(x: Tensor, delta: Tensor, rows: int, shown: int) -> int | None:
    """Return the axis of the examples, or None where no axis can be it."""
    for axis in range(min(x.ndim, delta.ndim)):
        length = delta.shape[axis]
        if (
            x.shape[axis] != length
            or (length % rows if axis == 0 else length != rows)
            or not length
        ):
            continue
        apart = delta.movedim(axis, 0).unflatten(0, (rows, -1))
        others = [i for i in range(rows) if i != shown]
        if not apart[others].any():
            return axis
    return None
