"""The Gauss-Newton matrix of a risk."""

from collections.abc import Iterable

from gengap.risk import Risk

from ._curvature import Curvature
from ._products import DEFAULT_MEMORY


def gauss_newton(
    risk: Risk, *, names: Iterable[str] | None = None, memory: int = DEFAULT_MEMORY
) -> Curvature:
    r"""Return the Gauss-Newton matrix, $G = \frac1n \sum_i J_i^\top L_i J_i$.

    $J_i$ is the Jacobian of the outputs by the parameters and $L_i$ the Hessian of the loss by
    the outputs: the Hessian without the curvature of the network. Positive semi-definite where
    the loss is convex in the outputs. Cost of a product: about that of the Hessian's.

    Args:
        risk: Model, loss and examples; differentiated at its own point.
        names: Parameters of a diagonal block; None is all of them.
        memory: Bytes of graphs that may be kept from one product to the next.

    Returns:
        A symmetric operator [p, p], `operator @ v`.

    Raises:
        ValueError: As `hessian`.

    Source:
        Schraudolph (2002).
    """
    return Curvature(risk, kind="gauss_newton", names=names, memory=memory)
