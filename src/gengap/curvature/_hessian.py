"""The Hessian of a risk."""

from collections.abc import Iterable

from gengap.risk import Risk

from ._curvature import Curvature
from ._products import DEFAULT_MEMORY


def hessian(
    risk: Risk, *, names: Iterable[str] | None = None, memory: int = DEFAULT_MEMORY
) -> Curvature:
    r"""Return the Hessian of the mean loss, $H = \frac1n \sum_i \nabla^2 \ell_i$.

    Symmetric, in general indefinite. Where the network has kinks (ReLU, max-pooling), this is the
    second derivative of the piece the point lies on, which is what double backward gives.
    Cost: see `Curvature`.

    Args:
        risk: Model, loss and examples; differentiated at its own point.
        names: Parameters of a diagonal block; None is all of them.
        memory: Bytes of gradient graphs that may be kept from one product to the next; 0 keeps
            none and builds every graph again, about 1.5 times slower or more.

    Returns:
        A symmetric operator [p, p], `operator @ v`.

    Raises:
        ValueError: An empty split, a layer in training mode, a loss that is not finite or not
            the same at every call, names that are not the model's; when multiplied, a loss that
            does not depend on the parameters or an operation without second derivative.

    Source:
        Products by differentiating the gradient's inner product: Pearlmutter (1994).
    """
    return Curvature(risk, kind="hessian", names=names, memory=memory)
