"""Model, loss and split as one function of the parameters: what gradients and measures take."""

from ._finite import (
    check_finite as check_finite,
    check_finite_loss as check_finite_loss,
    check_finite_parameters as check_finite_parameters,
)
from ._losses import Loss as Loss, find_loss as find_loss
from ._risk import Risk as Risk
from ._wrong_kind import wrong_kind as wrong_kind
