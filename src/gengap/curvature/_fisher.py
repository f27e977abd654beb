"""The Fisher information of a risk, true and empirical."""

from collections.abc import Iterable
from typing import Literal

from gengap._checks import check_choice
from gengap.risk import Risk, find_loss

from ._curvature import Curvature
from ._products import DEFAULT_MEMORY


def fisher(
    risk: Risk,
    *,
    kind: Literal["true", "empirical"] = "true",
    names: Iterable[str] | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Curvature:
    r"""Return the Fisher information, $F = \frac1n \sum_i \mathbb E_y\, g_i(y) g_i(y)^\top$.

    The gradient g of the loss at a label y drawn from the model's own distribution: "true". For
    cross-entropy and for half the squared error (a normal distribution of variance 1) this is the
    Gauss-Newton matrix, and computed as such, without draws. "empirical" takes the given targets
    instead, $\frac1n \sum_i g_i g_i^\top$, not centred: another matrix, which vanishes where
    every example is fitted, and no approximation of the Hessian away from there.

    Args:
        risk: Model, loss and examples; differentiated at its own point.
        kind: "true" or "empirical".
        names: Parameters of a diagonal block; None is all of them.
        memory: Bytes of graphs that may be kept from one product to the next.

    Returns:
        A positive semi-definite operator [p, p], `operator @ v`.

    Raises:
        ValueError: The true Fisher of a loss that is no log-likelihood known here, or as `hessian`.

    Source:
        Kunstner, Balles and Hennig (2019), arXiv:1905.12558, on the difference of the two.
    """
    check_choice("kind", kind, ("true", "empirical"))
    if kind == "empirical":
        return Curvature(risk, kind="empirical_fisher", names=names, memory=memory)
    if risk.loss not in (find_loss("cross_entropy"), find_loss("squared_error")):
        raise ValueError(
            "`risk` must have the loss 'cross_entropy' or 'squared_error' for the true Fisher, "
            "which needs the model's distribution of labels; got another one. Take "
            "kind='empirical' or gauss_newton."
        )
    return Curvature(risk, kind="gauss_newton", names=names, memory=memory)
