"""The candidate operations of the search spaces, as plain modules. `PRIMITIVES` is the one table of their names."""

from archselect.operations.convolution import DilConv, ReLUConvBN, SepConv
from archselect.operations.pooling import AvgPool, MaxPool
from archselect.operations.primitives import PRIMITIVES, Primitive, build_operation, primitive
from archselect.operations.skip import FactorizedReduce
from archselect.operations.sourceless import Noise, Zero

__all__ = [
    "PRIMITIVES",
    "AvgPool",
    "DilConv",
    "FactorizedReduce",
    "MaxPool",
    "Noise",
    "Primitive",
    "ReLUConvBN",
    "SepConv",
    "Zero",
    "build_operation",
    "primitive",
]
