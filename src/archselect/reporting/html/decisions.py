"""What a selection decided, as rows of two tables: the operations of the edges, then the inputs of the nodes.

The records are those of `decisions.jsonl`, parsed.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from archselect.figures.style import edge_name, styles

Record = Mapping[str, Any]
Criterion = Literal["accuracy", "loss"]
T = TypeVar("T")


@dataclass(frozen=True)
class Operation:
    """A candidate of an edge.

    Attributes:
        accuracy: Of the supernet without it, or with it alone, in percent; see `Decisions.seen`.
        beaten_after: How many images the scores are of, where a race stopped scoring it.
        strength: As the selection reported it, with its standard error.
        bar: Its strength, or the harm of its removal, as a share of the largest in the run; `None`: nothing was seen,
            or it is no number.
    """

    name: str
    colour: str
    kept: bool
    accuracy: float | None
    loss: float | None
    beaten_after: int | None
    strength: float | None
    error: float | None
    bar: float | None


@dataclass(frozen=True)
class NodeInput:
    """An in-edge of a node: the accuracy without it in percent, round by round, and what became of it."""

    edge: str
    accuracies: tuple[float, ...]
    kept: bool
    outcome: str


@dataclass(frozen=True)
class Decision(Generic[T]):
    """One edge or node: its `order` among all decisions of the run, the epochs of tuning before, and its candidates."""

    order: int
    epoch: int
    cell: str
    place: str
    candidates: tuple[T, ...]


@dataclass(frozen=True)
class Decisions:
    """Both tables, in the order of decision.

    Attributes:
        seen: What the scores of operations are of: the supernet "without it", or "with it alone" where copies of the
            supernet were discretised and trained.
        scale: What the bars of the operations show, and how much the longest stands for.
    """

    edges: tuple[Decision[Operation], ...]
    nodes: tuple[Decision[NodeInput], ...]
    seen: str
    scale: str

    @property
    def operations(self) -> list[Operation]:
        return [operation for edge in self.edges for operation in edge.candidates]

    @property
    def scored(self) -> bool:
        return any(operation.accuracy is not None for operation in self.operations)

    @property
    def compared(self) -> bool:
        return any(operation.strength is not None for operation in self.operations)

    @property
    def scored_nodes(self) -> bool:
        return any(one.accuracies for node in self.nodes for one in node.candidates)


def tabulate(records: Sequence[Record], criterion: Criterion = "accuracy") -> Decisions:
    """Return the tables of `records`.

    Args:
        records: In the order of decision.
        criterion: What the harm of a removal was measured by, where the records do not name strengths.
    """
    edges = {order: record for order, record in enumerate(records, start=1) if record["kind"] == "operation"}
    nodes = {order: record for order, record in enumerate(records, start=1) if record["kind"] == "topology"}
    amounts = {order: _amounts(record, criterion) for order, record in edges.items()}
    largest = max((abs(amount) for own in amounts.values() for amount in _finite(own)), default=0.0) or 1.0
    colours = {name: one.colour for name, one in styles(n for r in edges.values() for n in r["candidates"]).items()}

    def decision(order: int, place: str, candidates: Iterable[T]) -> Decision[T]:
        record = records[order - 1]
        return Decision(order, record["epoch"], record["cell"], place, tuple(candidates))

    return Decisions(
        edges=tuple(
            decision(order, edge_name(one["edge_states"]), _operations(one, amounts[order], largest, colours))
            for order, one in edges.items()
        ),
        nodes=tuple(decision(order, str(one["node"]), _inputs(one)) for order, one in nodes.items()),
        seen="with it alone" if any(map(_tried, edges.values())) else "without it",
        scale=_scale(edges.values(), criterion, largest),
    )


def _tried(record: Record) -> bool:
    """Whether the candidates were tried: a copy of the supernet for each, with that operation alone on the edge."""
    return record.get("trial") is not None


def _scale(records: Collection[Record], criterion: Criterion, largest: float) -> str:
    if any(map(_tried, records)):
        return f"strength beyond that of the edge’s weakest operation, full width: {largest:.3g}"
    if any(record["strengths"] for record in records):
        return f"strength, full width: {largest:.3g}; hatched: negative"
    lost = f"accuracy lost, full width: {100 * largest:.2f} points"
    gained = f"loss gained, full width: {largest:.3g} nats"
    return f"{lost if criterion == 'accuracy' else gained}, against the edge’s most dispensable operation"


def _amounts(record: Record, criterion: Criterion) -> list[float]:
    """Return how long the bar of each candidate is: its strength, or how much its removal harms more than another's."""
    if record["strengths"]:
        strengths = [float(strength["value"]) for strength in record["strengths"]]
        return _above_the_least(strengths) if _tried(record) else strengths
    sign = 1 if criterion == "loss" else -1
    return _above_the_least([sign * float(score[criterion]) for score in record["scores"]])


def _above_the_least(values: Sequence[float]) -> list[float]:
    least = min(_finite(values), default=0.0)
    return [value - least for value in values]


def _finite(values: Iterable[float]) -> list[float]:
    """Return those that can be drawn: a diverged supernet has scores that are not a number."""
    return [value for value in values if math.isfinite(value)]


def _operations(
    record: Record, amounts: Sequence[float], largest: float, colours: Mapping[str, str]
) -> Iterator[Operation]:
    scores = {score["candidate"]: score for score in record["scores"]}
    strengths = dict(zip(record["candidates"], record["strengths"], strict=False))
    bars = {name: x / largest for name, x in zip(record["candidates"], amounts, strict=False) if math.isfinite(x)}
    for name in record["candidates"]:
        score, strength = scores.get(name, {}), strengths.get(name, {})
        accuracy = score.get("accuracy")
        yield Operation(
            name=name,
            colour=colours[name],
            kept=name == record["kept"],
            accuracy=None if accuracy is None else 100 * accuracy,
            loss=score.get("loss"),
            beaten_after=score.get("beaten_after"),
            strength=strength.get("value"),
            error=strength.get("standard_error"),
            bar=bars.get(name),
        )


def _inputs(record: Record) -> Iterator[NodeInput]:
    for states in record["candidates"]:
        seen = sorted((score["round"], score["accuracy"]) for score in record["scores"] if score["candidate"] == states)
        kept, outcome = states in record["kept"], "dropped"
        if states in record["dropped"]:
            outcome = f"dropped in round {record['dropped'].index(states) + 1}"
        yield NodeInput(
            edge_name(states), tuple(100 * accuracy for _, accuracy in seen), kept, "kept" if kept else outcome
        )
