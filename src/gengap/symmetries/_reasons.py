"""Why an operation does not let a scale through, as the rest of a sentence."""

from torch import nn

from ._names import NOT_HOMOGENEOUS, POINTWISE

_REFUSED = "is not homogeneous: what enters it keeps its scale"
_UNKNOWN = "is not among the functions known to pass scales on: what enters it keeps its scale"
_NORMALIZES = (
    "is not homogeneous: its epsilon, and for single channels its shared statistics, see the scale "
    "of what enters it"
)
WEIGHTS = "uses weights in a way that is not known: they keep their scale"
_BY_FUNCTION = {
    **dict.fromkeys(POINTWISE | NOT_HOMOGENEOUS, _REFUSED),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm"), _NORMALIZES),
    "normalize": _NORMALIZES,
    "batch_norm": "has no running statistics that could take up a scale",
    **dict.fromkeys(("add", "sub", "rsub"), "adds a constant: what enters it keeps its scale"),
    "mul": "multiplies two activations: one of them keeps its scale",
}


def reason_of(module: nn.Module, function: str) -> str:
    """Return why a function inside a module fixes the scale of what enters it."""
    if isinstance(module, nn.LocalResponseNorm):
        return _REFUSED
    return _BY_FUNCTION.get(function.strip("_"), _UNKNOWN)
