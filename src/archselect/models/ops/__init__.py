"""The candidate operations of the search spaces, as plain modules. `PRIMITIVES` is the one table of their names."""

from archselect.models.ops.convolution import DilConv, ReLUConvBN, SepConv
from archselect.models.ops.primitives import (
    PRIMITIVES,
    FactorizedReduce,
    build_operation,
    drop_path,
    preprocessing,
    primitive,
)

__all__ = [
    "PRIMITIVES",
    "DilConv",
    "FactorizedReduce",
    "ReLUConvBN",
    "SepConv",
    "build_operation",
    "drop_path",
    "preprocessing",
    "primitive",
]
