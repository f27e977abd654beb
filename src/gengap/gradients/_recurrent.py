"""RNN, LSTM and GRU: the layer unrolled, its products of gates and inputs kept apart."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._local_call import CannotTellApart, Deltas, Differentiated, LocalCall
from ._part import DensePart, Part, SequencePart
from ._rule import Layout
from ._vectorized import differentiate_vectorized


@dataclass(eq=False)
class _Taps:
    """Inputs and outputs of every product with a weight, in the order of time."""

    inputs: dict[str, list[Tensor]] = field(default_factory=dict)
    outputs: dict[str, list[Tensor]] = field(default_factory=dict)

    def product(self, module: nn.Module, weight: str, bias: str, x: Tensor) -> Tensor:
        own = module._parameters
        matrix, shift = own[weight], own.get(bias)
        assert matrix is not None
        output = F.linear(x, matrix.detach(), None if shift is None else shift.detach())
        output = output if output.requires_grad else output.detach().requires_grad_()
        self.inputs.setdefault(weight, []).append(x.detach())
        self.outputs.setdefault(weight, []).append(output)
        return output


def differentiate_recurrent(
    call: LocalCall, inputs: list[Tensor], deltas: Deltas, layout: Layout
) -> Differentiated:
    """Return gradients of the inputs, and parts of the weights and biases.

    The layer runs once more, step by step; autograd gives the gradients of what each product
    with a weight gave out, from which come sequences of outer products.
    """
    module = call.module
    assert isinstance(module, nn.RNNBase)
    own = [p for p in module._parameters.values() if p is not None]
    if len({id(p) for p in own}) < len(own):  # tied within the layer
        if call.packing is not None:
            raise CannotTellApart("its sequences are packed and its weights are tied")
        return differentiate_vectorized(call, inputs, deltas, layout)
    if module.training and module.dropout and module.num_layers > 1:
        raise CannotTellApart("it draws random numbers (dropout)")
    astray = layout.examples != 1 and layout.axis != (0 if module.batch_first else 1)
    if inputs[0].ndim != 3 or astray:
        raise CannotTellApart("its batch is not where `batch_first` says")
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in inputs]
        x = leaves[0].transpose(0, 1) if module.batch_first else leaves[0]
        if len(x[0]) != (layout.examples or len(x[0])):
            raise CannotTellApart("an example has several rows of its batch")
        taps = _Taps()
        packing = call.packing
        outputs = _unrolled(module, x, leaves[1:], taps, packing.runs() if packing else None)
        if packing is not None:
            outputs[0] = packing.packed(outputs[0])
    tapped = [t for rows in taps.outputs.values() for t in rows]
    deltas = deltas if packing is None else [deltas[0], *deltas[1 - len(outputs) :]]
    pairs = [(o, d) for o, d in zip(outputs, deltas, strict=True) if d is not None]
    found = torch.autograd.grad(
        [o for o, _ in pairs],
        [*leaves, *tapped],
        [d for _, d in pairs],
        allow_unused=True,
    )
    grads = iter(found[len(leaves) :])
    parts: dict[str, Part] = {}
    for weight, rows in taps.outputs.items():
        stacked = [torch.zeros_like(t) if (g := next(grads)) is None else g for t in rows]
        delta = torch.stack(stacked, 1)
        parts[weight] = SequencePart(torch.stack(taps.inputs[weight], 1), delta)
        bias = weight.replace("weight", "bias", 1)
        if bias in call.params:
            parts[bias] = DensePart(delta.sum(1))
    return list(found[: len(leaves)]), {k: v for k, v in parts.items() if k in call.params}


def _unrolled(
    module: nn.RNNBase, x: Tensor, state: list[Tensor], taps: _Taps, runs: list[Tensor] | None
) -> list[Tensor]:
    """Run all layers on [t, b, d]; return outputs, last states and, for an LSTM, last cells.

    Where `runs` says at every step which examples still run, the states of the others stay.
    """
    directions = 2 if module.bidirectional else 1
    width = module.proj_size or module.hidden_size
    count = module.num_layers * directions
    hidden = state[0] if state else x.new_zeros(count, x.shape[1], width)
    cells = state[1] if len(state) > 1 else x.new_zeros(count, x.shape[1], module.hidden_size)
    last_hidden, last_cells = [], []
    for layer in range(module.num_layers):
        sides = []
        for direction in range(directions):
            i = layer * directions + direction
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            steps = list(x.flip(0) if direction else x)
            on = runs[::-1] if runs and direction else runs
            rows, h, c = _direction(module, suffix, steps, hidden[i], cells[i], taps, on)
            sides.append(torch.stack(rows[::-1] if direction else rows))
            last_hidden.append(h)
            last_cells.append(c)
        x = torch.cat(sides, -1)
    outputs = [x.transpose(0, 1) if module.batch_first else x, torch.stack(last_hidden)]
    return [*outputs, torch.stack(last_cells)] if module.mode == "LSTM" else outputs


def _direction(
    module: nn.RNNBase,
    suffix: str,
    steps: list[Tensor],
    h: Tensor,
    c: Tensor,
    taps: _Taps,
    runs: list[Tensor] | None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    rows = []
    for t, x in enumerate(steps):
        before = h, c
        from_input = taps.product(module, f"weight_ih{suffix}", f"bias_ih{suffix}", x)
        from_state = taps.product(module, f"weight_hh{suffix}", f"bias_hh{suffix}", h)
        h, c = _cell(module, from_input, from_state, h, c)
        if module.proj_size:
            h = taps.product(module, f"weight_hr{suffix}", "", h)
        if runs is not None:
            h, c = (torch.where(runs[t], *pair) for pair in zip((h, c), before, strict=True))
        rows.append(h)
    return rows, h, c


def _cell(
    module: Any, from_input: Tensor, from_state: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    if module.mode == "LSTM":
        i, f, g, o = (from_input + from_state).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if module.mode == "GRU":
        (r, z, n), (r_h, z_h, n_h) = from_input.chunk(3, -1), from_state.chunk(3, -1)
        update = (z + z_h).sigmoid()
        new = (n + (r + r_h).sigmoid() * n_h).tanh()
        return (1 - update) * new + update * h, c
    total = from_input + from_state
    return (total.tanh() if module.mode == "RNN_TANH" else total.relu()), c
