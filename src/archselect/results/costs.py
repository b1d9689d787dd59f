"""What an architecture costs, as results show it, and which architectures no other beats at its cost.

What counts and measures costs is the package `archselect.costs`; a run's summary has its numbers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from archselect.results.metric import Metric, checked_name

T = TypeVar("T")
DECADE = 10.0


class Cost(NamedTuple):
    """A cost under its key in a summary, `costs.KEY`; what is kept is shown in units of `scale`.

    `column` is its name over the column of a table, with the unit.
    """

    key: str
    name: str
    unit: str
    scale: float
    column: str

    @property
    def label(self) -> str:
        """The name as on an axis."""
        return f"{self.name} ({self.unit})"

    def number(self, value: float | None) -> str:
        """Return a value in the unit, without it."""
        if value is None:
            return "–"
        shown = value / self.scale
        return f"{shown:.2f}" if shown >= 0.995 or shown == 0 else f"{shown:#.2g}"

    def amount(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{self.number(value)} {self.unit}"


PARAMETERS = Cost("params", "parameters", "M", 1e6, "params M")
MACS = Cost("macs", "MACs", "M", 1e6, "MACs M")
PEAK = Cost("peak_activation_bytes", "peak activations", "MB", 1e6, "peak MB")
LATENCY_1 = Cost("latency_ms_batch1", "latency of a batch of 1", "ms", 1, "ms of 1")
LATENCY_64 = Cost("latency_ms_batch64", "latency of a batch of 64", "ms", 1, "ms of 64")
COSTS = (PARAMETERS, MACS, PEAK, LATENCY_1, LATENCY_64)


def costs_in(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the costs that a summary has, by their keys; of old ones, the parameters alone.

    Raises:
        ValueError: One is no finite number, 0 or more.
    """
    found = {cost.key: summary.get(f"costs.{cost.key}") for cost in COSTS}
    if summary.get("params") is not None:
        found["params"] = summary["params"]
    for key, value in found.items():
        known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if value is not None and not known:
            raise ValueError(f"costs.{key} is a finite number, 0 or more, not {value!r}")
    return {key: value for key, value in found.items() if value is not None}


def device_of(summary: Mapping[str, Any]) -> str | None:
    """Return on what the latencies were measured, where the summary says so."""
    device = summary.get("costs.device")
    return None if device is None else checked_name("costs.device", device)


def front(points: Sequence[tuple[float, float, T]], metric: Metric) -> list[tuple[float, float, T]]:
    """Return the Pareto front of points (cost, value of the metric, whose they are), the cheapest first.

    On it is what nothing beats: no other is at most as costly and at least as good, and better in one of the two.
    Points whose cost or value is not finite are left out.
    """
    found: list[tuple[float, float, T]] = []
    known = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
    for cost, value, what in sorted(known, key=lambda point: (point[0], -metric.sign * point[1])):
        lead = math.inf if not found else metric.sign * (value - found[-1][1])
        if lead > 0 or (found and (cost, value) == found[-1][:2]):
            found.append((cost, value, what))
    return found


def spans_decades(values: Iterable[float]) -> bool:
    """Return whether positive values are seen on a logarithmic axis only."""
    known = list(values)
    return bool(known) and min(known) > 0 and max(known) / min(known) >= DECADE
