"""Norms of the weights."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from gengap._functional import functional_call
from gengap._plain_weights import with_plain_weights
from gengap.curvature import FlatRisk
from gengap.risk import Risk

from ._measure import Measure, Question, Value

_HOMOGENEOUS = 1e-6


def weights(risk: Risk) -> dict[str, Tensor]:
    """Return the weights of linear maps as float64 matrices [out, rest]; not biases and scales.

    Those that a parametrization computes, and frozen ones, count as any other.

    Raises:
        ValueError: There are none.
    """
    plain = with_plain_weights(risk.model).named_parameters()
    found = {k: v.detach().double().flatten(1) for k, v in plain if v.ndim > 1}
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
    model = with_plain_weights(flat.risk.model)
    squared = {name: p.detach().square() for name, p in model.named_parameters()}
    x = next(iter(flat.risk.batches()))[0][:1]
    if not x.is_floating_point():
        raise ValueError(f"`split` must have real inputs for a path norm; got {x.dtype}.")
    ones = torch.ones_like(x)
    with torch.no_grad():
        _check_homogeneous(model, squared, ones)
        total = functional_call(model, squared, (ones,)).double().sum()
    return Value(value=float(total.sqrt()), passes=flat.passes)


def _check_homogeneous(model: nn.Module, squared: dict[str, Tensor], ones: Tensor) -> None:
    """Require that without its biases the network doubles its outputs where its inputs double.

    Biases are what is called so, or all vectors: some vectors are scales.
    """
    named = {name for name in squared if name.endswith("bias")}
    vectors = {name for name, value in squared.items() if value.ndim < 2}
    normed = any(isinstance(module, _NormBase) for module in model.modules())
    for biases in () if normed else (named, vectors):
        bare = {k: torch.zeros_like(v) if k in biases else v for k, v in squared.items()}
        once, twice = (functional_call(model, bare, (k * ones,)).double().sum() for k in (1, 2))
        zero = once == 0 and biases is vectors  # perhaps for a scale that is taken away
        if abs(twice - 2 * once) <= _HOMOGENEOUS * abs(once) and not zero:
            return
    raise ValueError(
        "`model` must be positively homogeneous for a path norm: Linear, Conv, ReLU, pooling; "
        "it has a layer that is not, such as BatchNorm, LayerNorm, GELU or sigmoid."
    )


NORMS = (
    Measure(
        name="parameters", formula="number of trainable parameters", units="parameters",
        function=_parameters, range="at least 1", cost="0", invariant=True,
    ),
    Measure(
        name="squared_norm", formula="sum of the squares of all trainable parameters",
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
        invariant=True,
        caveat="paths from biases count; average pooling counts as it is, and of what a maximum "
        "is taken of the heaviest counts",
        source="Neyshabur et al. (2015), arXiv:1503.00036",
    ),
    Measure(
        name="gradient_norm", formula="length of the gradient of the loss",
        units="nats per parameter", function=_gradient_norm, range="at least 0", cost="1",
        invariant=False, caveat="says how far from a minimum the curvature is taken",
    ),
)  # fmt: skip
