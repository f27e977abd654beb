"""A network in other coordinates: the same function, other gradients, Hessians, sharpness."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from gengap._checks import check_positive
from gengap._copies import copy_of
from gengap._functional import functional_call

Parameters = dict[str, Tensor]


class Coordinates(Protocol):
    """Coordinates eta of parameters theta: theta = self(eta), eta = self.inverse(theta).

    Both map names to tensors; `__call__` in functions that PyTorch can differentiate twice.
    """

    def __call__(self, eta: Mapping[str, Tensor], /) -> Parameters:
        """Return the parameters."""
        ...

    def inverse(self, theta: Mapping[str, Tensor], /) -> Parameters:
        """Return the coordinates."""
        ...


@final
class Reparametrized(nn.Module):
    """A network whose parameters are the coordinates; made by `reparametrize`."""

    def __init__(self, model: nn.Module, coordinates: Coordinates) -> None:
        super().__init__()
        theta = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
        self.change = coordinates
        self.names = {name.replace(".", "/"): name for name in coordinates.inverse(theta)}
        self.eta = nn.ParameterDict({
            name.replace(".", "/"): v.clone() for name, v in coordinates.inverse(theta).items()
        })
        self.network = model

    def parameters_of_network(self) -> Parameters:
        """Return theta at the present eta."""
        return self.change({name: self.eta[key] for key, name in self.names.items()})

    def forward(self, *inputs: Any) -> Any:
        """Compute the network's function."""
        return functional_call(self.network, self.parameters_of_network(), inputs)


def reparametrize(model: nn.Module, coordinates: Coordinates) -> Reparametrized:
    r"""Return the same function with other parameters, $\eta = g^{-1}(\theta)$.

    A `Risk` of it gives everything in the new coordinates:
    $\nabla L_\eta = \nabla L\, \nabla g$ and, where $\nabla L = 0$,
    $\nabla^2 L_\eta = \nabla g^\top \nabla^2 L\, \nabla g$, so a minimum may be made as flat or as
    sharp as one likes. Trainable parameters are changed; the model is copied.

    Args:
        model: Any module.
        coordinates: `Radial`, `WeightNorm`, `Bijection`, or your own.

    Raises:
        ValueError: The coordinates do not lead back to the parameters.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, section 5.1.

    Examples:
        >>> line = nn.Linear(1, 1, bias=False)
        >>> cube = Bijection(
        ...     forward=lambda eta: {k: v**3 for k, v in eta.items()},
        ...     backward=lambda theta: {k: v.sign() * v.abs() ** (1 / 3) for k, v in theta.items()},
        ... )
        >>> other = reparametrize(line, cube)
        >>> bool((other(torch.ones(1, 1)) - line(torch.ones(1, 1))).abs() < 1e-6)
        True
    """
    held = copy_of(model)
    changed = Reparametrized(held, coordinates)
    theta = {k: p.detach() for k, p in held.named_parameters() if p.requires_grad}
    held.requires_grad_(False)
    back = {k: v.detach() for k, v in changed.parameters_of_network().items()}
    for name, value in theta.items():
        size = value.abs().max().clamp(min=1e-30)
        gap = float((back[name] - value).abs().max() / size) if name in back else float("inf")
        if not gap < 1e-3:
            raise ValueError(
                f"`coordinates` must lead back to {name!r} of the model; it moved by {gap:.2g} of "
                "its size."
            )
    return changed


@final
@dataclass(frozen=True, kw_only=True)
class Bijection:
    """Coordinates from two functions of all parameters, name to tensor.

    Attributes:
        forward: theta from eta, in functions that PyTorch can differentiate twice.
        backward: eta from theta.
    """

    forward: Callable[[Mapping[str, Tensor]], Parameters]
    backward: Callable[[Mapping[str, Tensor]], Parameters]

    def __call__(self, eta: Mapping[str, Tensor]) -> Parameters:
        """Return the parameters."""
        return self.forward(eta)

    def inverse(self, theta: Mapping[str, Tensor]) -> Parameters:
        """Return the coordinates."""
        return self.backward(theta)


@final
@dataclass(frozen=True, kw_only=True)
class WeightNorm:
    r"""Coordinates of weight normalization: $w = s\, v / \|v\|$, one length s a tensor.

    The length of v is free. The Hessian's block of v scales as one over its square, so that every
    minimum is equivalent to one as sharp, or as flat, as one likes.

    Attributes:
        length: What v is multiplied by at the start.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, section 5.1; weight normalization itself has one s
        for each unit.
    """

    length: float = 1.0

    def __post_init__(self) -> None:
        check_positive("length", self.length)

    def __call__(self, eta: Mapping[str, Tensor]) -> Parameters:
        """Return the parameters."""
        names = [name.removesuffix(".v") for name in eta if name.endswith(".v")]
        return {k: eta[f"{k}.s"] * eta[f"{k}.v"] / eta[f"{k}.v"].norm() for k in names}

    def inverse(self, theta: Mapping[str, Tensor]) -> Parameters:
        """Return the coordinates."""
        found = {}
        for name, w in theta.items():
            zero = not bool(w.any())  # a direction must be named even for a length of zero
            found[f"{name}.v"] = self.length * (torch.ones_like(w) if zero else w)
            found[f"{name}.s"] = w.norm()
        return found


@final
@dataclass(frozen=True, kw_only=True)
class Radial:
    r"""Coordinates that stretch or shrink a small ball around a point and nothing outside another.

    $g^{-1}(\theta) = \hat\theta + \psi(r) (\theta - \hat\theta) / r$ with
    $r = \|\theta - \hat\theta\|_2$, $\psi(r) = \rho r / \hat r$ up to $\hat r$, linear from there
    to $\psi(\delta) = \delta$, and the identity beyond. At the point the Hessian becomes
    $(\hat r / \rho)^2$ times the old one.

    Attributes:
        center: The point, name to tensor; parameters not named are left as they are.
        delta: Radius beyond which nothing changes.
        rho: Radius of the small ball in the new coordinates, between 0 and delta.
        r_hat: Its radius in the old ones, between 0 and delta.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, appendix A.
    """

    center: Mapping[str, Tensor]
    delta: float
    rho: float
    r_hat: float

    def __post_init__(self) -> None:
        for name in ("rho", "r_hat"):
            if not 0 < getattr(self, name) < self.delta:
                raise ValueError(
                    f"`{name}` must lie between 0 and delta, {self.delta!r}; got "
                    f"{getattr(self, name)!r}."
                )

    def __call__(self, eta: Mapping[str, Tensor]) -> Parameters:
        """Return the parameters."""
        return self._stretch(eta, inner=self.rho, wanted=self.r_hat)

    def inverse(self, theta: Mapping[str, Tensor]) -> Parameters:
        """Return the coordinates."""
        return self._stretch(theta, inner=self.r_hat, wanted=self.rho)

    def _stretch(self, point: Mapping[str, Tensor], *, inner: float, wanted: float) -> Parameters:
        offsets = {k: point[k] - self.center[k].to(point[k]) for k in self.center}
        square = torch.stack([offset.square().sum() for offset in offsets.values()]).sum()
        inside, beyond = square <= inner**2, square > self.delta**2
        r = torch.where(inside, torch.ones_like(square), square).sqrt()
        slope = (wanted - self.delta) / (inner - self.delta)
        between = (slope * (r - self.delta) + self.delta) / r
        ratio = torch.where(beyond, torch.ones_like(r), between)
        ratio = torch.where(inside, torch.full_like(r, wanted / inner), ratio)
        moved = {k: self.center[k].to(point[k]) + ratio * offset for k, offset in offsets.items()}
        return {k: moved.get(k, value) for k, value in point.items()}


@final
class InputsReparametrized(nn.Module):
    r"""A network that takes other inputs: $f_\xi(u) = f(\xi(u))$.

    With $u = \xi^{-1}(x)$ it gives the same outputs, but
    $\partial f_\xi / \partial u = (\partial f / \partial x)(\partial \xi / \partial u)$: the size
    of input gradients is arbitrary too.

    Args:
        model: Any module.
        to_inputs: $\xi$, from a batch u to a batch x; differentiable.

    Source:
        Dinh et al. (2017), arXiv:1703.04933, section 5.2.
    """

    def __init__(self, model: nn.Module, to_inputs: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.to_inputs = model, to_inputs

    def forward(self, u: Tensor) -> Any:
        """Compute the network's outputs from the other inputs."""
        return self.network(self.to_inputs(u))
