"""The sharpnesses of `gengap.curvature` as measures."""

from typing import Any

from gengap import curvature
from gengap.curvature import Sharpness

from ._measure import Measure, Question, Value

_SUBSPACE = 100
_VOLUME = 500


def _from(found: Sharpness) -> Value:
    notes = []
    if len(found.rises) > 1 and found.displacement is not None:
        spread = f", spread {found.spread:.0%}" if max(found.rises) > 0 else ""
        notes.append(f"{len(found.rises)} starts{spread}")
    if any("ABNORMAL" in message for message in found.messages):
        notes.append("a line search broke off")
    if found.value == 0:
        notes.append("; ".join(dict.fromkeys(found.messages)))
    return Value(
        value=found.value,
        standard_error=found.standard_error,
        passes=found.passes,
        note="; ".join(notes),
    )


def _keskar(question: Question) -> Value:
    return _from(curvature.keskar_sharpness(question.risk, seed=question.seed))


def _keskar_subspace(question: Question) -> Value:
    p = sum(value.numel() for value in question.risk.params.values())
    found = curvature.keskar_sharpness(
        question.risk, subspace=min(_SUBSPACE, p), seed=question.seed
    )
    return _from(found)


def _ball(question: Question) -> Value:
    return _from(curvature.ball_sharpness(question.risk, iterations=30, seed=question.seed))


def _sam(question: Question, **options: Any) -> Value:
    return _from(curvature.sam_sharpness(question.risk, seed=question.seed, **options))


def _sigma(question: Question, **options: Any) -> Value:
    found = curvature.pac_bayes_sigma(question.risk, seed=question.seed, **options)
    return Value(
        value=found.value,
        standard_error=found.standard_error,
        passes=found.passes,
        note=f"mean drop of accuracy {found.harm:.3f}",
    )


def _relative_flatness(question: Question) -> Value:
    found = curvature.relative_flatness(question.risk, seed=question.seed)
    return Value(
        value=found.value,
        standard_error=found.standard_error,
        passes=found.passes,
        note=f"of layer {found.layer}",
    )


def _fisher_rao(question: Question) -> Value:
    found = curvature.fisher_rao_norm(question.risk)
    return Value(value=found.value, passes=found.passes)


def _volume(question: Question) -> Value:
    p = sum(value.numel() for value in question.risk.params.values())
    if p > _VOLUME:
        raise ValueError(
            f"`model` must have at most {_VOLUME} parameters to tell its volume; got {p}. Call "
            "gengap.curvature.volume_flatness for a lower bound."
        )
    found = curvature.volume_flatness(question.risk, seed=question.seed)
    return Value(
        value=found.log_volume,
        standard_error=found.standard_error,
        passes=found.passes,
        note=f"at least {found.lower_bound:.4g}; {found.capped} directions without an end",
    )


_ADAPTIVE = "arXiv:2102.11600"
_MODERN = "Andriushchenko et al. (2023), arXiv:2302.07011"
_LOWER = "a lower bound of the maximum; BatchNorm in evaluation mode"

SHARPNESS = (
    Measure(
        name="keskar_sharpness", formula="100 max rise / (1 + loss) in a box of 1e-3 (|x| + 1)",
        units="100 (1 + loss)", function=_keskar, range="at least 0", cost="40",
        invariant=False, caveat=_LOWER, source="Keskar et al. (2017), arXiv:1609.04836",
    ),
    Measure(
        name="keskar_sharpness_subspace",
        formula="the same in a random subspace of 100 normal columns", units="100 (1 + loss)",
        function=_keskar_subspace, range="at least 0", cost="40", invariant=False, caveat=_LOWER,
        source="Keskar et al. (2017), arXiv:1609.04836",
    ),
    Measure(
        name="ball_sharpness", formula="max rise / (1 + loss) in a ball of radius 1e-3",
        units="1 + loss", function=_ball, range="at least 0", cost="100", invariant=False,
        caveat=_LOWER, source="Dinh et al. (2017), arXiv:1703.04933",
    ),
    Measure(
        name="sam", formula="rise after one step of the gradient of length 0.05", units="nats",
        function=_sam, range="real", cost="2", invariant=False,
        source="Foret et al. (2021), arXiv:2010.01412",
    ),
    Measure(
        name="asam", formula="the same, relative to every parameter, of length 0.5", units="nats",
        function=lambda q: _sam(q, adaptive=True, rho=0.5), range="real", cost="2",
        invariant=True, caveat="with eta = 0", source=f"Kwon et al. (2021), {_ADAPTIVE}",
    ),
    Measure(
        name="asam_worst", formula="max rise over |d| <= 0.002 |theta|, 20 steps", units="nats",
        function=lambda q: _sam(q, adaptive=True, norm="linf", rho=0.002, steps=20),
        range="at least 0", cost="22", invariant=True, caveat=_LOWER, source=_MODERN,
    ),
    Measure(
        name="asam_worst_normalized", formula="the same with normalized logits", units="nats",
        function=lambda q: _sam(
            q, adaptive=True, norm="linf", rho=0.002, steps=20, normalize_logits=True
        ),
        range="at least 0", cost="22", invariant=True, caveat=_LOWER, source=_MODERN,
    ),
    Measure(
        name="average_sharpness", formula="mean rise under noise N(0, 0.05^2)", units="nats",
        function=lambda q: _sam(q, average=True), range="real", cost="21", invariant=False,
        source=_MODERN,
    ),
    Measure(
        name="adaptive_average_sharpness", formula="mean rise under noise N(0, (0.1 theta)^2)",
        units="nats", function=lambda q: _sam(q, average=True, adaptive=True, rho=0.1),
        range="real", cost="21", invariant=True, source=_MODERN,
    ),
    Measure(
        name="pac_bayes_sigma", formula="largest noise with a mean drop of accuracy of 0.1",
        units="parameters", function=_sigma, range="above 0", cost="100", invariant=False,
        caveat="larger is flatter", source="Jiang et al. (2020), arXiv:1912.02178",
    ),
    Measure(
        name="pac_bayes_sigma_relative", formula="the same, relative to every parameter",
        units="share", function=lambda q: _sigma(q, magnitude_aware=True), range="above 0",
        cost="100", invariant=True, caveat="larger is flatter; with epsilon = 0",
        source="Jiang et al. (2020), arXiv:1912.02178",
    ),
    Measure(
        name="relative_flatness", formula="sum of <w_s, w_t> tr H_st over rows of the last layer",
        units="nats", function=_relative_flatness, range="at least 0", cost="2 + outputs",
        invariant=None, caveat="bears one factor a layer, not one a unit before it; smaller is "
        "flatter", source="Petzka et al. (2021), arXiv:2001.00939",
    ),
    Measure(
        name="fisher_rao_norm", formula="root of theta^T F theta, empirical F", units="nats",
        function=_fisher_rao, range="at least 0", cost="3", invariant=True,
        source="Liang et al. (2019), arXiv:1711.01530",
    ),
    Measure(
        name="log_volume", formula="log volume seen from theta where the loss rises by < 0.01",
        units="log of parameters^p", function=_volume, range="real", cost="p + 500",
        invariant=False, caveat="up to 500 parameters; larger is flatter",
        source="Dinh et al. (2017), arXiv:1703.04933",
    ),
)  # fmt: skip
