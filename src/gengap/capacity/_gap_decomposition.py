"""The gap of squared loss, term by term, in the coordinates of paths."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gengap.data import Split

from ._paths import count_paths, layers_of, path_gram, path_norm_squared

LARGEST = 8_000


@final
@dataclass(frozen=True, kw_only=True)
class GapDecomposition:
    r"""Where the gap of squared loss comes from.

    With path weights $\bar w$ and path features $z$, the output is $z^\top \bar w$ and

    $$R - R_S = c_y + 2 v^\top \bar w + \bar w^\top G \bar w,$$

    $v = \frac{1}{m} \sum_S y z - E[y z]$, $G = E[z z^\top] - \frac{1}{m} \sum_S z z^\top$,
    $c_y = E[y^2] - \frac{1}{m} \sum_S y^2$, summed over the outputs; E is the mean over the test
    half. In squared distance, which is twice the library's squared-error loss.

    Attributes:
        gap: Test risk less train risk, measured from the outputs.
        targets: The term c_y; 0 for classes.
        linear: The term 2 v w.
        quadratic: The term w G w.
        residual: The gap less the three terms: rounding.
        paths: Number of path features of an output.
        v_norm: Norm of v over all outputs.
        weight_norm: Norm of the path weights over all outputs.
        cosine: Of v and the path weights; 1 is the worst that v could do.
        largest_eigenvalue: Of G.
        smallest_eigenvalue: Of G.
        bound: $c_y + 2 \|v\| \|\bar w\| + \lambda_{\max}(G) \|\bar w\|^2$, at least the gap.
    """

    gap: float
    targets: float
    linear: float
    quadratic: float
    residual: float
    paths: int
    v_norm: float
    weight_norm: float
    cosine: float
    largest_eigenvalue: float
    smallest_eigenvalue: float
    bound: float

    @property
    def sentence(self) -> str:
        """Say the gap and its terms."""
        return (
            f"The gap of squared loss is {self.gap:.4g} = {self.targets:.4g} (targets) + "
            f"{self.linear:.4g} (linear) + {self.quadratic:.4g} (quadratic), over "
            f"{self.paths:,} paths; from norms alone it could be {self.bound:.4g}."
        )


@torch.no_grad()
def gap_decomposition(model: nn.Module, train: Split, test: Split) -> GapDecomposition:
    """Decompose the gap of squared loss of a ReLU perceptron, in float64.

    No path is written out: inner products of path features factor over the layers. Invariant to
    rescalings of a unit's weights, as path weights are. Cost: the inner products of all pairs of
    examples and two eigendecompositions of that size.

    Args:
        model: A perceptron, or `FrozenActivations` of one. Classes are taken as one-hot targets.
        train: What it was trained on.
        test: In the place of the distribution.

    Raises:
        ValueError: The model is no perceptron, or there are too many examples.

    Source:
        Kawaguchi, Kaelbling and Bengio (2017), arXiv:1710.05468. Theirs has an expectation where
        we have the mean over a test half, so that the identity can be checked.
    """
    total = len(train) + len(test)
    if total > LARGEST:
        raise ValueError(
            f"`train` and `test` must have at most {LARGEST} examples together, whose inner "
            f"products are kept; got {total}. Give fewer, such as `train[:{LARGEST // 2}]`."
        )
    gates, layers = layers_of(model)
    (x, y), (x_test, y_test) = _numbers(train), _numbers(test)
    x, y = torch.cat([x, x_test]), torch.cat([y, y_test])
    sign = torch.cat([-torch.ones(len(train)), torch.ones(len(test))]).double()
    weight = sign / torch.where(sign < 0, len(train), len(test))  # E less the mean over S
    f = _outputs(gates, layers, x)
    terms = {
        "targets": float(weight @ y.square().sum(1)),
        "linear": float(-2 * weight @ (y * f).sum(1)),
        "quadratic": float(weight @ f.square().sum(1)),
    }
    gap = float(weight @ (f - y).square().sum(1))
    gram = path_gram(gates, x)
    v_norm = float(
        ((weight[:, None] * y) * (gram @ (weight[:, None] * y))).sum().clamp(min=0).sqrt()
    )
    weight_norm = path_norm_squared(layers) ** 0.5
    low, high = _extreme_eigenvalues(gram, weight)
    norms = 2 * v_norm * weight_norm
    return GapDecomposition(
        gap=gap,
        **terms,
        residual=gap - sum(terms.values()),
        paths=count_paths(layers),
        v_norm=v_norm,
        weight_norm=weight_norm,
        cosine=terms["linear"] / norms if norms else 0.0,
        largest_eigenvalue=high,
        smallest_eigenvalue=low,
        bound=terms["targets"] + norms + high * weight_norm**2,
    )


def _numbers(split: Split) -> tuple[Tensor, Tensor]:
    """Return inputs [n, d] and targets [n, c] in float64."""
    x, y = split.batch()
    y = F.one_hot(y, split.num_classes) if split.num_classes else y.flatten(1)
    return x.flatten(1).double(), y.double()


def _outputs(gates: list[nn.Linear], layers: list[nn.Linear], x: Tensor) -> Tensor:
    """Return the outputs of a network whose units switch with the signs of `gates`."""
    h, pre = x, x
    for gate, layer in zip(gates[:-1], layers[:-1], strict=True):
        pre = gate(pre)
        h = layer(h) * (pre > 0)
        pre = pre.relu()
    return layers[-1](h)


def _extreme_eigenvalues(gram: Tensor, weight: Tensor) -> tuple[float, float]:
    """Return the least and the largest eigenvalue of sum_i weight_i z_i z_i^T, of inner products.

    With gram = R R^T it has the eigenvalues of R^T diag(weight) R, and zeros.
    """
    values, vectors = torch.linalg.eigh(gram)
    root = vectors * values.clamp(min=0).sqrt()
    found = torch.linalg.eigvalsh(root.T @ (weight[:, None] * root))
    return min(0.0, float(found[0])), max(0.0, float(found[-1]))
