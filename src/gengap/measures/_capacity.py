"""What classical theory says of a trained network, as measures."""

from torch import nn

from gengap.capacity import BoundName, capacity_bounds, normalized_margins

from ._measure import Measure, Question, Value

_FORWARD = 1 / 3
_BIASES = "without biases it bears one factor a layer"


def _model(question: Question) -> nn.Module:
    return question.risk.model


def _bound(question: Question, name: BoundName) -> Value:
    (found,) = capacity_bounds(_model(question), question.risk.split, names=[name])
    passes = 0.0 if name == "vc" else _FORWARD
    said = "vacuous, at least 1" if found.vacuous else "not vacuous"
    value = found.complexity if name == "vc" else found.value
    return Value(
        value=value, standard_error=float("nan"), passes=passes, note=f"{said}; {found.note}"
    )


def _normalized_margin(question: Question) -> Value:
    found = normalized_margins(_model(question), question.risk.split)
    return Value(value=found.quantile(0.5), passes=_FORWARD)


CAPACITY = (
    Measure(
        name="vc_dimension", formula="upper bound on the VC dimension of networks of this shape",
        units="examples", function=lambda question: _bound(question, "vc"), range="at least 1",
        cost="0", invariant=True, source="Bartlett et al. (2019), arXiv:1703.02930",
    ),
    Measure(
        name="path_bound", formula="bound on the gap from the sum over paths of |products|",
        units="share", function=lambda question: _bound(question, "path"), range="at least 0",
        cost="1/3", invariant=True, source="Golowich et al. (2018), arXiv:1712.06541, theorem 2",
    ),
    Measure(
        name="golowich_bound", formula="bound on the gap from the product of Frobenius norms",
        units="share", function=lambda question: _bound(question, "golowich"),
        range="at least 0", cost="1/3", invariant=False, caveat=_BIASES,
        source="Golowich et al. (2018), arXiv:1712.06541, theorem 1",
    ),
    Measure(
        name="patch_bound", formula="the same, of convolutions as they share weights",
        units="share", function=lambda question: _bound(question, "patch"), range="at least 0",
        cost="1/3", invariant=False, caveat=_BIASES,
    ),
    Measure(
        name="spectral_bound", formula="bound on the gap from spectral norms of the layers' maps",
        units="share", function=lambda question: _bound(question, "spectral"),
        range="at least 0", cost="1/3", invariant=False, caveat=_BIASES,
        source="Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498",
    ),
    Measure(
        name="normalized_margin", formula="median of margin / (spectral complexity |X| / n)",
        units="ratio", function=_normalized_margin, range="real", cost="1/3", invariant=False,
        caveat=_BIASES, source="Bartlett, Foster and Telgarsky (2017), arXiv:1706.08498",
    ),
)  # fmt: skip
