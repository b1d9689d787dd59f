"""What the machine can do at most, measured: operations and bytes per second."""

from dataclasses import dataclass

import torch

from .conditions import Conditions
from .stopwatch import seconds

REPEAT = 5


@dataclass(frozen=True)
class Limits:
    """Floating point operations per second of a large matrix product, bytes per second of a large addition in place."""

    operations: float
    bytes: float


def measure_limits(conditions: Conditions, side: int | None = None, elements: int | None = None) -> Limits:
    """Return the best of a few runs.

    Args:
        conditions: Device, threads and precision.
        side: Of the square matrices; None: large enough.
        elements: Of the two tensors that are added; None: far more than a cache holds.
    """
    conditions.apply()
    device, dtype = conditions.device, conditions.dtype
    side = side or (8192 if device == "cuda" else 2048)
    elements = elements or 64 * 1024**2
    matrix = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty_like(matrix)
    product = min(seconds(lambda: torch.mm(matrix, matrix, out=out), device) for _ in range(REPEAT))
    total, summand = (torch.zeros(elements, device=device, dtype=dtype) for _ in range(2))
    addition = min(seconds(lambda: total.add_(summand), device) for _ in range(REPEAT))
    return Limits(2 * side**3 / product, 3 * elements * dtype.itemsize / addition)
