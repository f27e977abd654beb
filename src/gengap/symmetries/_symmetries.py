"""The symmetries of one network: what may be rescaled, what exchanged, and what may not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from gengap._copies import copy_of

from ._exchange import Exchange, tensors_of
from ._ledger import Skipped
from ._solve import Exponents


@final
@dataclass(frozen=True, kw_only=True)
class Rescaling:
    """One place where units can be rescaled, each by its own positive factor.

    Attributes:
        name: Modules whose parameters are multiplied, and those divided.
        multiplied: Names of the parameters multiplied by the factors.
        divided: Names of the parameters divided by them.
        units: Number of factors that can be chosen.
        scales: Their places among the log-scales, [units].
        one_sided: Whether running statistics of BatchNorm take up the factors and no parameter
            is divided: the network then does not see the length of these weights at all.
    """

    name: str
    multiplied: tuple[str, ...]
    divided: tuple[str, ...]
    units: int
    scales: Tensor
    one_sided: bool

    def __str__(self) -> str:
        whom = "unit" if self.units == 1 else "units"
        return f"{self.name}: {self.units} {whom}"


@final
@dataclass(frozen=True, kw_only=True)
class Permutation:
    """One set of units that can change places.

    Attributes:
        name: Modules whose parameters hold the units.
        units: How many can change places with each other.
        numbers: Their numbers among all units, [units].
        parameters: Names of what is moved when they do.
    """

    name: str
    units: int
    numbers: Tensor
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.units} units"


@final
@dataclass(frozen=True, kw_only=True)
class Norm:
    """Running statistics that scale with what comes in, and the weight that may have to help."""

    mean: str
    variance: str
    weight: str | None
    epsilon: float
    scales: Tensor


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Symmetries:
    r"""Changes of a network's parameters that keep its function, in evaluation mode.

    A vector of log-scales $t$, one a free unit, multiplies parameter element $j$ by
    $e^{t_{i(j)} - t_{k(j)}}$, for every $t$. `exponents` says which log-scales go with
    which elements.

    Attributes:
        rescalings: Places where units can be rescaled.
        permutations: Sets of units that can change places.
        skipped: Places that could not be crossed, each with its reason; `str` gives a sentence.
        num_scales: Number of log-scales.
        exponents: By name of the parameter; parameters that never change are left out.
        norms: Running statistics that change too.
        exchange: Which elements belong to which unit.
    """

    rescalings: tuple[Rescaling, ...]
    permutations: tuple[Permutation, ...]
    skipped: tuple[Skipped, ...]
    num_scales: int
    exponents: Mapping[str, Exponents]
    norms: tuple[Norm, ...]
    exchange: Exchange

    def __str__(self) -> str:
        lines = [f"{self.num_scales} free factors in {len(self.rescalings)} places"]
        lines += [f"  {rescaling}" for rescaling in self.rescalings]
        lines += [f"permutations in {len(self.permutations)} places"]
        lines += [f"  {permutation}" for permutation in self.permutations]
        lines += [f"skipped {len(self.skipped)}"]
        return "\n".join(lines + [f"  {skipped}" for skipped in self.skipped])

    def log_scales(self, value: float = 0.0) -> Tensor:
        """Return log-scales that are all the same, float64 [num_scales]."""
        return torch.full((self.num_scales,), value, dtype=torch.float64)

    def factors(self, log_scales: Tensor) -> dict[str, Tensor]:
        """Return what each parameter is multiplied by: float64, of shapes that broadcast.

        Weights of BatchNorm may need a further correction for its epsilon, see `apply`.
        """
        return {k: e.log_factors(log_scales).exp() for k, e in self.exponents.items()}

    def apply(self, model: nn.Module, log_scales: Tensor) -> nn.Module:
        r"""Return a rescaled copy of the model; nothing is checked.

        Running means m scale with what comes in, by $c$, and running variances v as they would
        in training, by $c^2$. BatchNorm's epsilon does not scale with them: its weight takes up
        the factor $\sqrt{(c^2 v + \epsilon) / (c^2 (v + \epsilon))}$, near 1 where v is much
        larger. BatchNorm without a weight gets the variance $c^2 (v + \epsilon) - \epsilon$
        instead, and changes the function where that would be negative. In training mode, with
        statistics of the batch, the function changes by the same small factors.

        Args:
            model: The model, or one of the same structure.
            log_scales: Logarithms of the factors, [num_scales].
        """
        changed = copy_of(model)
        log_scales = log_scales.detach().to("cpu", torch.float64)
        if log_scales.shape != (self.num_scales,):
            raise ValueError(
                f"`log_scales` must have shape ({self.num_scales},); got {tuple(log_scales.shape)}."
            )
        parameters, buffers = dict(changed.named_parameters()), dict(changed.named_buffers())
        _check_fits(parameters, {k: (e.plus, e.minus) for k, e in self.exponents.items()})
        for norm in self.norms:
            _check_fits(buffers, {norm.mean: (norm.scales,), norm.variance: (norm.scales,)})
        with torch.no_grad():
            for name, factors in self.factors(log_scales).items():
                _multiply(parameters[name], factors)
            for norm in self.norms:
                _rescale_norm(norm, parameters, buffers, log_scales)
        return changed

    def permute(self, model: nn.Module, order: Tensor) -> nn.Module:
        """Return a copy of the model with units moved; nothing is checked.

        Args:
            model: The model, or one of the same structure.
            order: For each unit the one whose weights it gets, [exchange.count].
        """
        changed = copy_of(model)
        _check_fits(tensors_of(changed), self.exchange.units)
        self.exchange.apply(tensors_of(changed), order)
        return changed


def _check_fits(tensors: Mapping[str, Tensor], numbers: Mapping[str, tuple[Tensor, ...]]) -> None:
    """Require that a model has the tensors of which symmetries number the elements."""
    for name, parts in numbers.items():
        shape = tuple(tensors[name].shape) if name in tensors else None
        if shape is None or not all(_fits(part.shape, shape) for part in parts):
            came = "no such tensor" if shape is None else f"shape {shape}"
            raise ValueError(
                f"`model` must have the {name!r} of the network whose symmetries these are; got "
                f"{came}. Call find on this model."
            )


def _fits(part: torch.Size, shape: tuple[int, ...]) -> bool:
    """Whether numbers of a shape can be spread over that of a tensor."""
    pairs = zip(reversed(part), reversed(shape), strict=False)
    return len(part) <= max(1, len(shape)) and all(a in (1, b) for a, b in pairs)


def _multiply(values: Tensor, factors: Tensor) -> None:
    values.copy_((values.double() * factors.to(values.device)).to(values.dtype))


def _rescale_norm(
    norm: Norm, parameters: dict[str, nn.Parameter], buffers: dict[str, Tensor], t: Tensor
) -> None:
    mean, variance = buffers[norm.mean], buffers[norm.variance]
    c = Exponents(plus=norm.scales, minus=torch.zeros(1).long()).log_factors(t).exp()
    c = c.to(mean.device)
    _multiply(mean, c)
    old, wanted = variance.double(), c.square() * (variance.double() + norm.epsilon)
    if norm.weight is None:
        new = torch.where(c == 1, old, (wanted - norm.epsilon).clamp(min=0.0))
    else:
        new = torch.where(c == 1, old, c.square() * old)
        rest = ((new + norm.epsilon) / wanted).sqrt()
        _multiply(parameters[norm.weight], torch.where(c == 1, 1.0, rest))
    variance.copy_(new.to(variance.dtype))


def modules_of(names: tuple[str, ...]) -> str:
    """Return the modules of some parameters, each once."""
    modules = (name if name.endswith(")") else name.rpartition(".")[0] or name for name in names)
    return ", ".join(dict.fromkeys(modules))
