"""How long each operation takes at each place of a skeleton, measured on one device and kept as a table.

The latency of an architecture is taken to be a sum: that of a skeleton whose operations do nothing, and that of each
operation by itself (FBNet, Wu et al., CVPR 2019, arXiv 1812.03443, sec. 3.3). What a device does at one time for
several operations, or between them, is not in it: the table says how the sum compares with a network that was measured.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archselect.costs.expected import (
    CostModel,
    Place,
    Skeleton,
    counted_models,
    linear_model,
    operation_at,
    operations_at,
)
from archselect.costs.latency import describe_device, latency
from archselect.models.discrete.network import DiscreteCell, DiscreteNetwork, DiscreteNode
from archselect.safe_io.files import read_json
from archselect.store import write_text

NANOSECONDS = 1_000_000
"""Per millisecond. Tables and cost models count nanoseconds, in whole numbers, so that sums are exact."""


@dataclass(frozen=True)
class LatencyTable:
    """Latencies in nanoseconds per batch.

    Attributes:
        how: On what it was measured: device and versions, images per batch, seconds per operation.
        skeleton: `Skeleton.description` of the networks that it is about.
        fixed: Of a network whose operations do nothing.
        operations: Of each operation at each place.
        check: A network that was measured as a whole: its genotype, the sum by this table, what was measured, and the
            ratio of the two.
    """

    how: Mapping[str, Any]
    skeleton: Mapping[str, Any]
    fixed: int
    operations: Mapping[tuple[str, Place], int]
    check: Mapping[str, Any]

    @classmethod
    def read(cls, file: str | Path) -> "LatencyTable":
        """Return the table in a file; a ValueError says what is wrong with it."""
        path = Path(file)
        try:
            data = read_json(path, path.parent)
        except OSError as error:
            raise ValueError(
                f"latency_table={path} cannot be read: {error.strerror or error}. python -m archselect.costs measure "
                "writes one."
            ) from error
        try:
            operations = {(row["operation"], _place(row)): _whole_number(row["ns"]) for row in data["operations"]}
            how, skeleton, check = (_mapping(data[name]) for name in ("how", "skeleton", "check"))
            return cls(how, skeleton, _whole_number(data["fixed_ns"]), operations, check)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no table of latencies: python -m archselect.costs measure writes one, and nothing in it is "
                f"to be changed ({error!r})."
            ) from error

    def write(self, file: str | Path) -> None:
        """Write the table as JSON, an operation at a place per line."""
        head = {"how": self.how, "skeleton": self.skeleton, "check": self.check, "fixed_ns": self.fixed}
        rows = [{"operation": name, **place._asdict(), "ns": time} for (name, place), time in self.operations.items()]
        lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
        write_text(Path(file), f'{json.dumps(head, indent=2)[:-2]},\n  "operations": [\n{lines}\n  ]\n}}\n')

    def model(self, skeleton: Skeleton) -> CostModel:
        """Return the latency of the architectures of a skeleton; a ValueError where the table is of another."""
        if (wanted := skeleton.description) != self.skeleton:
            of_table, of_run = map(_flat, (self.skeleton, wanted))
            names = [name for name in {**of_run, **of_table} if of_run.get(name) != of_table.get(name)]
            theirs, ours = (", ".join(f"{name} {one.get(name)}" for name in names) for one in (of_table, of_run))
            raise ValueError(
                f"The table of latencies is that of networks with {theirs}, but those of this run have {ours}. "
                "Measure one for them: python -m archselect.costs measure, with the options of this run."
            )
        missing = sorted({name for name, place in {*operations_at(skeleton)} - {*self.operations}})
        if missing:
            raise ValueError(
                f"The table of latencies lacks the operations {', '.join(missing)} of search space "
                f"{skeleton.space.name!r}. Measure one for it: python -m archselect.costs measure."
            )
        return linear_model(skeleton, self.fixed, lambda name, place: self.operations[name, place])


class Untouched(nn.Module):
    """Passes its input on, at a stride: what is left of an operation that does nothing."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]


def without_operations(network: DiscreteNetwork) -> DiscreteNetwork:
    """Return the network with operations that do nothing in all of its cells."""
    for cell in network.modules():
        if isinstance(cell, DiscreteCell):
            for node in cell.nodes:
                assert isinstance(node, DiscreteNode)
                node.operations = nn.ModuleList(Untouched(cell.strides[source]) for source in node.sources)
    return network


def measure_latencies(skeleton: Skeleton, device: torch.device, batch: int, seconds: float) -> LatencyTable:
    """Measure every operation of a space wherever a skeleton has it, and the skeleton without them.

    Args:
        skeleton: What is measured.
        device: On which.
        batch: Images per batch.
        seconds: How long each operation is measured, at least.
    """

    def measure(module: nn.Module, size: int, channels: int) -> int:
        return round(latency(module, size, device, batch, channels, seconds).median * NANOSECONDS)

    example, size = skeleton.space.example(), skeleton.image_size
    network = skeleton.network(example)
    operations = {
        (name, place): measure(operation_at(skeleton.space, name, place), place.size, place.channels)
        for name, place in operations_at(skeleton)
    }
    whole = measure(network, size, network.in_channels)
    fixed = measure(without_operations(network), size, network.in_channels)
    how = {"device": describe_device(device), "batch": batch, "seconds_per_operation": seconds}
    table = LatencyTable(how, skeleton.description, fixed, operations, {})
    by_table = table.model(skeleton).cost(example)
    check = {"genotype": str(example), "sum_ns": by_table, "measured_ns": whole, "ratio": by_table / whole}
    return replace(table, check=check)


def cost_models(measures: Iterable[str], skeleton: Skeleton, latency_table: str | None) -> dict[str, CostModel]:
    """Return the costs of a skeleton by name: `macs`, `params`, `latency` in nanoseconds by the table in a file."""
    counted: dict[str, CostModel] = {}
    if {*measures} - {"latency"}:
        counted = counted_models(skeleton)
    if "latency" in measures:
        assert latency_table is not None, "the options ask for it"
        counted["latency"] = LatencyTable.read(latency_table).model(skeleton)
    return counted


def unit_of(measure: str) -> int:
    """Return how many units of its cost model one of an option's is."""
    return NANOSECONDS if measure == "latency" else 1


def option_of(measure: str) -> str:
    """Return the measure with the unit of its options, where it has one: `latency_ms`."""
    return "latency_ms" if measure == "latency" else measure


def _flat(description: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return plain data by full names, such as `network.channels`."""
    found = dict[str, Any]()
    for name, value in description.items():
        found |= _flat(value, f"{place}{name}.") if isinstance(value, Mapping) else {f"{place}{name}": value}
    return found


def cost_in_words(measure: str, cost: float) -> str:
    """Return a cost with its unit, such as `1,500 MACs`; a latency is in milliseconds."""
    if measure == "latency":
        return f"{cost:,.0f} ms" if cost >= 1000 else f"{cost:.4g} ms"
    return f"{round(cost):,} {'MACs' if measure == 'macs' else measure}"


def _place(row: Mapping[str, Any]) -> Place:
    return Place(*(_whole_number(row[name]) for name in Place._fields))


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no mapping")
    return value


def _whole_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is no whole number")
    return value
