"""The papers' networks with exact parameter counts, as functions of input shape and classes."""

from ._alexnet import small_alexnet as small_alexnet
from ._count import num_parameters as num_parameters
from ._frozen_activations import FrozenActivations as FrozenActivations, Gate as Gate
from ._inception import small_inception as small_inception
from ._keskar import (
    keskar_c1 as keskar_c1,
    keskar_c2 as keskar_c2,
    keskar_c3 as keskar_c3,
    keskar_c4 as keskar_c4,
    keskar_f1 as keskar_f1,
    keskar_f2 as keskar_f2,
)
from ._lenet import lenet as lenet
from ._mlp import linear as linear, mlp as mlp
from ._module_outputs import module_outputs as module_outputs
from ._outside import (
    check_outside as check_outside,
    is_outside as is_outside,
    outside as outside,
)
from ._parameters_per_example import parameters_per_example as parameters_per_example
from ._pyramid import pyramid as pyramid
from ._residual_mlp import residual_mlp as residual_mlp
from ._resnet import resnet as resnet
