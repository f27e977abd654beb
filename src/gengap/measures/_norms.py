"""Norms of the weights."""

import torch
from torch import Tensor

from gengap._functional import functional_call
from gengap.curvature import FlatRisk
from gengap.risk import Risk

from ._measure import Measure, Question, Value

_HOMOGENEOUS = 1e-6


def weights(risk: Risk) -> dict[str, Tensor]:
    """Return the weights of linear maps as float64 matrices [out, rest]; not biases and scales.

    Raises:
        ValueError: There are none.
    """
    found = {k: v.double().flatten(1) for k, v in risk.params.items() if v.ndim > 1}
    if not found:
        raise ValueError("`model` must have weights of two axes or more; got vectors only.")
    return found


def _parameters(question: Question) -> Value:
    return Value(value=float(sum(v.numel() for v in question.risk.params.values())))


def _squared_norm(question: Question) -> Value:
    squares = [v.double().square().sum() for v in question.risk.params.values()]
    return Value(value=float(torch.stack(squares).sum()))


def _log_frobenius(question: Question) -> Value:
    squares = [w.square().sum() for w in weights(question.risk).values()]
    return Value(value=float(torch.stack(squares).log().sum()))


def _log_spectral(question: Question) -> Value:
    tops = [torch.linalg.matrix_norm(w, ord=2) for w in weights(question.risk).values()]
    return Value(value=2 * float(torch.stack(tops).log().sum()))


def _gradient_norm(question: Question) -> Value:
    flat = FlatRisk.of(question.risk)
    _, gradient = flat.value_and_gradient(flat.start)
    return Value(value=float(gradient.norm()), passes=flat.passes)


def _path_norm(question: Question) -> Value:
    flat = FlatRisk.of(question.risk)
    model = flat.risk.model
    squared = {name: value.square() for name, value in flat.risk.params.items()}
    x = next(iter(flat.risk.batches()))[0][:1]
    if not x.is_floating_point():
        raise ValueError(f"`split` must have real inputs for a path norm; got {x.dtype}.")
    ones = torch.ones_like(x)
    with torch.no_grad():
        total = functional_call(model, squared, (ones,)).double().sum()
        bare = {k: v if v.ndim > 1 else torch.zeros_like(v) for k, v in squared.items()}
        once, twice = (functional_call(model, bare, (k * ones,)).double().sum() for k in (1, 2))
    if not abs(twice - 2 * once) <= _HOMOGENEOUS * abs(once):
        raise ValueError(
            "`model` must be positively homogeneous for a path norm: Linear, Conv, ReLU, pooling; "
            "it has a layer that is not, such as BatchNorm, LayerNorm, GELU or sigmoid."
        )
    return Value(value=float(total.sqrt()), passes=flat.passes)


NORMS = (
    Measure(
        name="parameters", formula="number of trainable parameters", units="parameters",
        function=_parameters, range="at least 1", cost="0", invariant=True,
    ),
    Measure(
        name="squared_norm", formula="sum of the squares of all parameters",
        units="parameters squared", function=_squared_norm, range="at least 0", cost="0",
        invariant=False,
    ),
    Measure(
        name="log_frobenius_product", formula="sum over layers of log ||W||_F^2", units="log",
        function=_log_frobenius, range="real", cost="0", invariant=None,
        caveat="bears one factor a layer, not one a unit; biases do not count",
        source="Jiang et al. (2020), arXiv:1912.02178",
    ),
    Measure(
        name="log_spectral_product", formula="sum over layers of log ||W||_2^2, W as [out, rest]",
        units="log", function=_log_spectral, range="real", cost="0", invariant=None,
        caveat="bears one factor a layer, not one a unit; of a convolution it is the norm of the "
        "kernel as a matrix",
        source="Jiang et al. (2020), arXiv:1912.02178",
    ),
    Measure(
        name="path_norm", formula="root of the sum over paths of squared products of weights",
        units="logits per input", function=_path_norm, range="at least 0", cost="1",
        invariant=True, caveat="paths from biases count; average pooling counts as it is",
        source="Neyshabur et al. (2015), arXiv:1503.00036",
    ),
    Measure(
        name="gradient_norm", formula="length of the gradient of the loss",
        units="nats per parameter", function=_gradient_norm, range="at least 0", cost="1",
        invariant=False, caveat="says how far from a minimum the curvature is taken",
    ),
)  # fmt: skip
