"""The candidate operations of the search spaces, as plain modules. `PRIMITIVES` is the one table of their names."""

from archselect.models.ops.convolution import DilConv, ReLUConvBN, SepConv
from archselect.models.ops.primitives import (
    PRIMITIVES,
    AvgPool,
    FactorizedReduce,
    MaxPool,
    Noise,
    Primitive,
    Zero,
    build_operation,
    primitive,
)

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
