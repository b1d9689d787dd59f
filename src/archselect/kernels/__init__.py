"""Operations of a supernet in the form that is fastest on a CPU: exact, with gradients of their own.

Loops in C (`cpu`) evaluate many edges of a cell in one call, each image while it is in the cache. What they share:
images are in `channels_last`; the normalisation of what a convolution gave is put off until the nodes are summed; what
a gradient does not need is not kept. None of them can be differentiated twice, and they say so.

They are off unless `enabled()` turns them on, and stand only for modules that do exactly what they compute (`modules`):
a network that a user holds is plain PyTorch.
"""

from archselect.kernels.cpu.autograd import EdgeOutput, convolve, edge_forward, mix, node_sum
from archselect.kernels.cpu.native import channels_last
from archselect.kernels.interface import (
    Convolution,
    Convolutions,
    Identities,
    NormMode,
    Operation,
    Pools,
    Running,
    Values,
    are_enabled,
    disabled,
    enabled,
)
from archselect.kernels.modules import is_available, made_of, norm_mode, preprocess, sequential, untouched

__all__ = [
    "Convolution",
    "Convolutions",
    "EdgeOutput",
    "Identities",
    "NormMode",
    "Operation",
    "Pools",
    "Running",
    "Values",
    "are_enabled",
    "channels_last",
    "convolve",
    "disabled",
    "edge_forward",
    "enabled",
    "is_available",
    "made_of",
    "mix",
    "node_sum",
    "norm_mode",
    "preprocess",
    "sequential",
    "untouched",
]
