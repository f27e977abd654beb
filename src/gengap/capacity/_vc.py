"""A bound on the VC dimension of a network of piecewise linear units."""

import math
from collections.abc import Sequence

from ._bound import Bound
from ._chain import Link


def vc_dimension(links: Sequence[Link]) -> float:
    r"""Return an upper bound on the VC dimension of the errors of all networks of this shape.

    $L + w \log_2(4 e R \log_2(2 e R))$ with $w = \sum_i W_i$, where $W_i$ counts the parameters
    of the first i layers, and $R = \sum_i i k_i$, where $k_i$ counts the breakpoints of layer i:
    one a rectified unit, one a pair of values that max pooling compares, one a pair of outputs
    of which the larger is the prediction. Shared weights count once. $w$ is at most $L W$: the
    paper's $O(W L \log W)$ with its constants.

    Source:
        Bartlett, Harvey, Liaw and Mehrabian (2019), arXiv:1703.02930, theorem 7 for degree 1 and
        two pieces; pooling and classes by the same count of signs.
    """
    parameters, summed, breaks = 0, 0, 0
    for i, link in enumerate(links, start=1):
        own = link.operator
        parameters += own.weight.numel() + (0 if own.bias is None else own.bias.numel())
        summed += parameters
        pairs = max(1, own.units * (own.units - 1) // 2)
        units = pairs if i == len(links) else own.units
        breaks += i * (units + link.comparisons)
    r = max(2 * math.e * breaks, 16.0)
    return len(links) + summed * math.log2(2 * r * math.log2(r))


def vc_bound(links: Sequence[Link], n: int, *, confidence: float = 0.95) -> Bound:
    r"""Return the bound on the gap that the VC dimension v gives, of n examples.

    $\sqrt{2 v \ln(e n / v) / n} + \sqrt{\ln(1 / \delta) / (2 n)}$, infinite where v is n or more:
    networks of this shape can then give any errors at all.

    Source:
        Mohri, Rostamizadeh and Talwalkar (2018), Foundations of machine learning, corollary 3.19.
    """
    dimension = vc_dimension(links)
    value = math.inf
    if dimension < n:
        value = math.sqrt(2 * dimension * math.log(math.e * n / dimension) / n)
        value += math.sqrt(math.log(1 / (1 - confidence)) / (2 * n))
    return Bound(
        name="VC",
        value=value,
        complexity=dimension,
        units="examples",
        confidence=confidence,
        source="Bartlett et al. (2019), theorem 7",
        note=f"at most {dimension:.3g} examples can be labelled at will; there are {n}",
    )
