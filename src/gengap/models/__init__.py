"""The papers' networks with exact parameter counts, as functions of input shape and classes."""

from ._alexnet import small_alexnet as small_alexnet
from ._count import num_parameters as num_parameters
from ._inception import small_inception as small_inception
from ._mlp import linear as linear, mlp as mlp
