"""m-coherence of a fixed sample of the training examples, while a network trains."""

import math

import torch
from torch import Tensor, nn

from gengap._streams import streams
from gengap.data import Ranks, Split
from gengap.gradients import by_layer, ranked_dots, ranked_statistics
from gengap.risk import Risk

GROUPS = ("all", "clean", "corrupted")
WHOLE = ""
QUANTITIES = ("m_coherence", "share", "loss")


class CoherenceProbe:
    r"""Measures m-coherence on a fixed sample of each lane's training examples.

    $\frac{\|\sum_i g_i\|^2}{\sum_i \|g_i\|^2}$ over the gradients $g_i$ of the plain loss (without
    label smoothing or weight decay) of the sample's examples: all, the clean and the corrupted.
    A group's share of the gradient is $\langle S, S_a \rangle / \langle S, S \rangle$ for the
    sums $S_a$ over the group and $S$ over all. The network is in evaluation mode and computes in
    its own precision; sums are float64.

    Attributes:
        layers: "" for the whole network, then the modules that have parameters of their own, by
            name; "." is the network itself, where it has some.
        moments: Epoch and step of every measurement.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: list[Split],
        seeds: list[int],
        *,
        examples: int,
        loss: str,
        device: torch.device,
        null_worlds: int = 0,
    ) -> None:
        samples = [
            split[probe_sample(split.changed, examples, seed)].to(device)
            for split, seed in zip(splits, seeds, strict=True)
        ]
        risk = Risk(model, samples[0], loss=loss, device=device)
        self._model = risk.model
        self._risks = [_groups(risk.on(sample)) for sample in samples]
        self._worlds = [
            _worlds(len(sample), null_worlds, seed)
            for sample, seed in zip(samples, seeds, strict=True)
        ]
        owned = by_layer(risk.params)
        self.layers = [WHOLE, *owned]
        places = enumerate(owned.values(), start=1)
        self._layer_of = {name: place for place, names in places for name in names}
        self.moments: list[tuple[int, int]] = []
        self._values: dict[int, list[Tensor]] = {lane: [] for lane in range(len(splits))}
        self._null: dict[int, list[Tensor]] = {lane: [] for lane in range(len(splits))}

    def measure(
        self,
        values: dict[int, dict[str, Tensor]],
        *,
        epoch: int,
        step: int,
        ranks: Ranks | None = None,
    ) -> None:
        """Measure lanes at these parameters and buffers, unless it has been done at this step."""
        ranks = ranks or Ranks()
        if self.moments and self.moments[-1][1] == step:
            return
        self.moments.append((epoch, step))
        held = dict([*self._model.named_parameters(), *self._model.named_buffers()])
        for lane, own in values.items():
            for name, value in own.items():
                held[name].data.copy_(value)
            quantities, null = self._measured(self._risks[lane], self._worlds[lane], ranks)
            self._values[lane].append(quantities)
            self._null[lane].append(null)

    def _measured(
        self, risks: dict[str, Risk], worlds: Tensor, ranks: Ranks
    ) -> tuple[Tensor, Tensor]:
        """Return the quantities [layers, groups, 3] and the null worlds' shares [w]."""
        found = {group: ranked_statistics(risk, ranks) for group, risk in risks.items()}
        shape = (len(self.layers), len(GROUPS))
        squares, of_sum, with_all = torch.zeros(3, *shape, dtype=torch.float64)
        for name, layer in self._layer_of.items():
            for group, own in found.items():
                columns = [GROUPS.index(group), 0]
                squares[layer, columns] += float(own.block_squared_norms[name].sum())
            parts = {group: own.sum[name] for group, own in found.items()}
            whole = torch.stack(list(parts.values())).sum(0)
            for group, part in {**parts, "all": whole}.items():
                of_sum[layer, GROUPS.index(group)] += float(part.square().sum())
                with_all[layer, GROUPS.index(group)] += float((part * whole).sum())
        for table in (squares, of_sum, with_all):
            table[0] = table[1:].sum(0)
        losses = _mean_losses({group: own.losses for group, own in found.items()}).expand(shape)
        quantities = torch.stack([of_sum / squares, with_all / of_sum[:, :1], losses], -1)
        if not len(worlds) or len(risks) < 2:
            return quantities, torch.empty(0, dtype=torch.float64)
        sums = {group: own.sum for group, own in found.items()}
        return quantities, _null_shares(risks, sums, worlds, ranks)

    def row(self, lane: int, *, step: int) -> dict[str, float]:
        """Return a lane's columns of the history: the whole network, where measured at `step`."""
        now = bool(self.moments) and self.moments[-1][1] == step
        whole = self._values[lane][-1][0, :, 0].tolist() if now else [math.nan] * len(GROUPS)
        names = ("m_coherence", "m_coherence_clean", "m_coherence_corrupted")
        return dict(zip(names, whole, strict=True))

    def columns(self, lane: int) -> dict[str, list]:
        """Return the columns of a lane's frame, a row a measurement, layer and group."""
        counts = self._counts(lane)
        present = [(place, group) for place, group in enumerate(GROUPS) if counts[group]]
        rows = []
        for (epoch, step), measured in zip(self.moments, self._values[lane], strict=False):
            numbers = measured.tolist()
            for layer, of_groups in zip(self.layers, numbers, strict=True):
                for place, group in present:
                    (value, *shares), count = of_groups[place], counts[group]
                    rows.append((epoch, step, layer, group, count, value, value / count, *shares))
        first = ("epoch", "step", "layer", "group", "examples", "m_coherence", "alpha")
        names = (*first, *QUANTITIES[1:])
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def null_columns(self, lane: int) -> dict[str, list]:
        """Return the columns of a lane's null worlds, a row a measurement and world."""
        rows = [
            (epoch, step, world, share)
            for (epoch, step), shares in zip(self.moments, self._null[lane], strict=False)
            for world, share in enumerate(shares.tolist())
        ]
        names = ("epoch", "step", "world", "share")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def _counts(self, lane: int) -> dict[str, int]:
        own = {group: risk.n for group, risk in self._risks[lane].items()}
        return {"all": sum(own.values()), "clean": 0, "corrupted": 0, **own}

    def state(self, lanes: list[int]) -> dict[str, Tensor]:
        """Return all that was measured of these lanes: [l, t, layers, groups, 3] and [t, w] each.

        Lanes differ in their null worlds: one without corrupted examples in its sample has none.
        """
        found = {"values": torch.stack([torch.stack(self._values[lane]) for lane in lanes])}
        null = {f"null/{i}": torch.stack(self._null[lane]) for i, lane in enumerate(lanes)}
        return found | null

    def restore(
        self, lanes: list[int], state: dict[str, Tensor], moments: list[tuple[int, int]]
    ) -> None:
        """Go on from what `state` returned for the same lanes."""
        self.moments = [(epoch, step) for epoch, step in moments]
        for i, lane in enumerate(lanes):
            self._values[lane] = list(state["values"][i].cpu().unbind())
            self._null[lane] = list(state[f"null/{i}"].cpu().unbind())


def probe_sample(changed: Tensor, examples: int, seed: int) -> Tensor:
    """Return the rows of a run's probe sample, sorted.

    Uniform among the clean and among the corrupted, each with its share of the sample, so that
    the whole sample stands for the data; where both kinds exist, at least one of each.

    Args:
        changed: Which examples a corruption changed, bool [n].
        examples: How many, if there are as many.
        seed: Root of the run's draws; the stream is "probe".
    """
    n = len(changed)
    order = torch.randperm(n, generator=streams(seed)("probe"))
    if examples >= n:
        return order.sort().values
    changed = changed.cpu()[order]
    count = int(changed.sum())
    corrupted = round(examples * count / n)
    if 0 < count < n and examples > 1:
        corrupted = min(max(corrupted, 1), examples - 1)
    kept = [order[changed][:corrupted], order[~changed][: examples - corrupted]]
    return torch.cat(kept).sort().values


def _groups(risk: Risk) -> dict[str, Risk]:
    """Return the risk of the clean and of the corrupted examples, where there are some."""
    changed = risk.split.changed.cpu()
    parts = {"clean": ~changed, "corrupted": changed}
    return {group: risk[mask] for group, mask in parts.items() if mask.any()}


def _mean_losses(losses: dict[str, Tensor]) -> Tensor:
    """Return the mean loss of every group, [groups], NaN where it has no examples."""
    own = {**losses, "all": torch.cat(list(losses.values()))}
    means = [float(own[group].mean()) if group in own else math.nan for group in GROUPS]
    return torch.tensor(means, dtype=torch.float64)


def _worlds(n: int, count: int, seed: int) -> Tensor:
    """Return permutations of a sample, [count, n]: the designations of the null worlds."""
    generator = streams(seed)("null worlds")
    orders = [torch.randperm(n, generator=generator) for _ in range(count)]
    return torch.stack(orders) if orders else torch.empty(0, n, dtype=torch.int64)


def _null_shares(
    risks: dict[str, Risk], sums: dict[str, dict[str, Tensor]], worlds: Tensor, ranks: Ranks
) -> Tensor:
    """Return the share of the gradient that each world's "clean" examples have, [w]."""
    whole = {name: sums["clean"][name] + sums["corrupted"][name] for name in sums["clean"]}
    dots = torch.cat([ranked_dots(risks[group], whole, ranks).cpu() for group in GROUPS[1:]])
    return dots[worlds[:, : risks["clean"].n]].sum(1) / dots.sum()
