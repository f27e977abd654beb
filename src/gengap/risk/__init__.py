"""Model, loss and split as one function of the parameters: what gradients and measures take."""

from ._losses import Loss as Loss, find_loss as find_loss
from ._risk import Risk as Risk
