"""Any network, differentiated by autograd: directly for one lane, by `vmap` for many."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import vmap

from gengap._copies import copy_of
from gengap._functional import functional_call
from gengap.data import Part
from gengap.gradients import Whereabouts, intercepted
from gengap.models import module_outputs
from gengap.optim import RobustRecorder, penalties

from ._dropout import SeededDropout
from ._fit_checks import one_tensor
from ._losses import mean_over_batch, per_example_losses
from ._program import LanesUnavailable, Program
from ._quick_linear import quicken
from ._recipe import Recipe


class AutogradProgram(Program):
    """l copies of any network.

    One lane calls the module as it is; several call it under `vmap` with stacked parameters, so
    that a linear layer becomes one batched product. Gradients of the summed lane losses with
    respect to the stack are each lane's own gradients, because lanes share nothing.
    """

    def __init__(self, models: list[nn.Module], recipe: Recipe) -> None:
        self._skeleton = copy_of(models[0])
        self._whole = _KeepsBuffers(self._skeleton)
        self._where = Whereabouts(self._skeleton)
        self._recipe = recipe
        self._channels_last = any(isinstance(m, nn.Conv2d) for m in self._skeleton.modules())
        self._tried = False
        self._generators: list[torch.Generator] = []
        self._calls: dict[tuple[int, ...], list[tuple[int, torch.Size]]] = {}
        self._dropouts = {
            name: module
            for name, module in self._skeleton.named_modules()
            if isinstance(module, SeededDropout) and module.p > 0
        }
        watched = (name for r in recipe.regularizers for name in r.layers)
        self._watched = list(dict.fromkeys(watched))
        self._trained = [name for name, p in models[0].named_parameters() if p.requires_grad]
        values = [dict([*m.named_parameters(), *m.named_buffers()]) for m in models]
        self.load({name: torch.stack([v[name].detach() for v in values]) for name in values[0]})

    def load(self, values: dict[str, Tensor]) -> None:
        """Take new values, name to [l, ...]; a single lane's become the module's own."""
        fresh = {name: self._laid_out(value.detach().clone()) for name, value in values.items()}
        self.parameters = {name: fresh[name] for name in self._trained}
        self.buffers = {name: v for name, v in fresh.items() if name not in self.parameters}
        if self.num_lanes > 1:
            self._leaves = {name: p.requires_grad_() for name, p in self.parameters.items()}
            self.parameters = {name: leaf.detach() for name, leaf in self._leaves.items()}
            return
        skeleton = self._skeleton
        if self._recipe.robust_mean is None:
            quicken(skeleton)
        held = dict([*skeleton.named_parameters(), *skeleton.named_buffers()])
        for name, value in fresh.items():
            held[name].data = value[0]
        self._leaves = {name: held[name] for name in self._trained}
        self._held = [
            (module._buffers, name, buffer)
            for module in skeleton.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]

    def _laid_out(self, value: Tensor) -> Tensor:
        """Return stacked weights of a convolution with channels last, where that is faster."""
        if not (self._channels_last and value.ndim == 5 and len(value) == 1):
            return value
        return value.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)

    def start_epoch(self, generators: list[torch.Generator]) -> None:
        """Take the generators of the epoch's dropout masks."""
        self._generators = generators
        for layer in self._dropouts.values():
            layer.generator = generators[0] if len(generators) == 1 else None

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs [l, b, c] in evaluation mode, without a graph."""
        self._skeleton.eval()
        with torch.no_grad(), self._autocast(x):
            return _at_least_float32(self._call(x, {})[0])

    def gradients(
        self, x: Tensor, y: Tensor, part: Part | None = None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the mean losses [l] of a batch and their gradients."""
        self._skeleton.train()
        for layer in self._dropouts.values():
            layer.part = part
        leaves = list(self._leaves.values())
        with self._apart(x, part) as recorder, torch.enable_grad():
            with self._autocast(x):
                outputs, features = self._call(x, self._masks(x), watched=self._watched)
            outputs = _at_least_float32(outputs)
            each = per_example_losses(
                outputs, y, loss=self._recipe.loss, label_smoothing=self._recipe.label_smoothing
            )
            losses = mean_over_batch(each, part)
            total = losses.sum()
            if self._recipe.regularizers:
                features = {name: _at_least_float32(h) for name, h in features.items()}
                total = total + penalties(self._recipe.regularizers, outputs, features).sum()
            grads = torch.autograd.grad(total, leaves, allow_unused=True)
        if recorder is not None:
            self._check_robust(recorder, grads)
        if len(x) == 1:
            grads = tuple(g if g is None else g[None] for g in grads)
        return losses.detach(), list(grads)

    @contextmanager
    def _apart(self, x: Tensor, part: Part | None) -> Iterator[RobustRecorder | None]:
        """Make the gradients robust means over the examples, where the recipe asks for them."""
        mean = self._recipe.robust_mean
        if mean is None:
            yield None
            return
        if len(x) > 1:
            raise LanesUnavailable("examples are told apart in one network at a time")
        recorder = RobustRecorder(dict.fromkeys(self._trained, mean), self.ranks, part)
        where = self._where
        with (
            intercepted(self._skeleton, recorder, **where.known()),
            where.told_to(recorder),
        ):
            yield recorder

    def _check_robust(self, recorder: RobustRecorder, found: Sequence[Tensor | None]) -> None:
        for name, gradient in zip(self._trained, found, strict=True):
            if gradient is None or not recorder.gave(name, gradient):
                raise ValueError(
                    f"`optimizer` {self._recipe.optimizer!r} must take every gradient example by "
                    f"example; got the parameter {name!r}, which is in a layer without a rule for "
                    "that or used outside its layer."
                )

    def _autocast(self, x: Tensor) -> torch.autocast:
        on = self._recipe.precision == "bfloat16"
        return torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=on)

    def _call(
        self, x: Tensor, masks: dict[str, Tensor], watched: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the outputs, [l, b, ...], and those of the watched modules."""
        if len(x) == 1:
            one = self._images(x[0])
            with module_outputs(self._skeleton, watched) as features:
                outputs = one_tensor(self._skeleton(one))[None]
            self._take_replaced_buffers()
            return outputs, {name: h[None] for name, h in features.items()}

        def forward(values: dict[str, Tensor], one: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            named = {f"network.{name}": value for name, value in values.items()}
            with module_outputs(self._skeleton, watched) as features:
                outputs = functional_call(self._whole, named, (one,))
            return outputs, features

        try:
            return vmap(forward, randomness="error")({**self._leaves, **self.buffers, **masks}, x)
        except RuntimeError as error:
            raise LanesUnavailable(str(error).splitlines()[0]) from error

    def _take_replaced_buffers(self) -> None:
        """Copy what the network has put in the place of a buffer, and put the buffer back.

        One of another shape is a cache, which the network makes anew.
        """
        for buffers, name, held in self._held:
            found = buffers.get(name)
            if found is not None and found is not held and found.shape == held.shape:
                with torch.no_grad():
                    held.copy_(found)
                buffers[name] = held

    def _images(self, x: Tensor) -> Tensor:
        """Return images with channels last, unless the network is found not to take them.

        `h.view(len(h), -1)` does not: it asks for the order of the axes in memory.
        """
        if not self._channels_last or x.ndim != 4:
            return x
        fast = x.contiguous(memory_format=torch.channels_last)
        if self._tried:
            return fast
        self._tried, training = True, self._skeleton.training
        try:
            self._skeleton.eval()
            with torch.no_grad():
                self._skeleton(fast[:2])
        except RuntimeError:
            self._channels_last = False
            held = dict([*self._skeleton.named_parameters(), *self._skeleton.named_buffers()])
            for name, stack in {**self.parameters, **self.buffers}.items():
                stack.data = stack.contiguous()  # the optimizer holds these
                held[name].data = stack[0]
        self._skeleton.train(training)
        return fast if self._channels_last else x

    def _masks(self, x: Tensor) -> dict[str, Tensor]:
        """Draw the masks of a batch, each lane's in the order in which a single run draws them."""
        if len(x) == 1 or not self._dropouts:
            return {}
        names, layers = list(self._dropouts), list(self._dropouts.values())
        drawn: dict[int, list[Tensor]] = {i: [] for i in range(len(layers))}
        calls = self._dropout_calls(x)
        for generator in self._generators:
            for i, shape in calls:
                drawn[i].append(layers[i].draw(shape, generator))
        return {f"{names[i]}.mask": torch.stack(masks).to(x) for i, masks in drawn.items()}

    def _dropout_calls(self, x: Tensor) -> list[tuple[int, torch.Size]]:
        """Return which dropout layers run in a forward pass, in order, on inputs of which shape."""
        key = tuple(x.shape[1:])
        if key not in self._calls:
            probe = copy_of(self._skeleton)
            probe.eval()
            calls: list[tuple[int, torch.Size]] = []
            for i, name in enumerate(self._dropouts):
                layer = probe.get_submodule(name)
                layer.register_forward_pre_hook(
                    lambda _, inputs, i=i: calls.append((i, inputs[0].shape))
                )
            state = {k: v.detach()[0] for k, v in {**self._leaves, **self.buffers}.items()}
            with torch.no_grad():
                functional_call(probe, state, (x[0],))
            if sorted(i for i, _ in calls) != list(range(len(self._dropouts))):
                raise LanesUnavailable("a dropout layer does not run once in a forward pass")
            self._calls[key] = calls
        return self._calls[key]


class _KeepsBuffers(nn.Module):
    """A network that may change its buffers, but not put others in their place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        before = dict(self.network.named_buffers())
        found = one_tensor(self.network(x))
        if any(now is not before.get(name) for name, now in self.network.named_buffers()):
            raise LanesUnavailable("a buffer is replaced in a forward pass")
        return found


def _at_least_float32(outputs: Tensor) -> Tensor:
    return outputs if outputs.dtype == torch.float64 else outputs.float()
