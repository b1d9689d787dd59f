"""What a selection decided, as rows of two tables: the operations of the edges, then the inputs of the nodes.

The records are those of `decisions.jsonl`, parsed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from archselect.figures.style import styles

Record = Mapping[str, Any]
Criterion = Literal["accuracy", "loss"]


@dataclass(frozen=True)
class Candidate:
    """An operation of an edge.

    Attributes:
        name: The operation.
        colour: Its colour in every picture.
        kept: Whether the edge kept it.
        accuracy: Of the supernet without it, or with it alone, in percent; see `Decisions.seen`.
        loss: Likewise.
        beaten_after: How many images the scores are of, where a race stopped scoring it.
        strength: As the selection reported it.
        error: Standard error of the strength.
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
class EdgeDecision:
    """One edge: when it was decided, and what on."""

    order: int
    epoch: int
    cell: str
    edge: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class NodeInput:
    """An in-edge of a node: the accuracy without it in percent, round by round, and what became of it."""

    edge: str
    accuracies: tuple[float, ...]
    kept: bool
    outcome: str


@dataclass(frozen=True)
class NodeDecision:
    """One node: when its inputs were decided, and which."""

    order: int
    epoch: int
    cell: str
    node: int
    inputs: tuple[NodeInput, ...]


@dataclass(frozen=True)
class Decisions:
    """Both tables, in the order of decision.

    Attributes:
        edges: Rows of the first.
        nodes: Rows of the second.
        seen: What the scores of the first are of: the supernet "without it", or "with it alone" where copies of the
            supernet were discretised and trained.
        scale: What the bars of the first show, and how much the longest stands for.
    """

    edges: tuple[EdgeDecision, ...]
    nodes: tuple[NodeDecision, ...]
    seen: str
    scale: str

    @property
    def candidates(self) -> list[Candidate]:
        return [candidate for edge in self.edges for candidate in edge.candidates]

    @property
    def scored(self) -> bool:
        return any(candidate.accuracy is not None for candidate in self.candidates)

    @property
    def compared(self) -> bool:
        return any(candidate.strength is not None for candidate in self.candidates)

    @property
    def scored_nodes(self) -> bool:
        return any(seen.accuracies for node in self.nodes for seen in node.inputs)


def tabulate(records: Sequence[Record], criterion: Criterion = "accuracy") -> Decisions:
    """Return the tables of `records`.

    Args:
        records: In the order of decision.
        criterion: What the harm of a removal was measured by, where the records do not name strengths.
    """
    own = [(order, record) for order, record in enumerate(records, start=1) if record["kind"] == "operation"]
    nodes = [(order, record) for order, record in enumerate(records, start=1) if record["kind"] == "topology"]
    amounts = {order: _amounts(record, criterion) for order, record in own}
    largest = max((abs(amount) for found in amounts.values() for amount in _finite(found)), default=0.0) or 1.0
    colours = styles(name for _, record in own for name in record["candidates"])
    edges = tuple(
        EdgeDecision(
            order,
            record["epoch"],
            record["cell"],
            edge_name(record["edge_states"]),
            tuple(_candidates(record, [amount / largest for amount in amounts[order]], colours)),
        )
        for order, record in own
    )
    seen = "with it alone" if any(_tried(record) for _, record in own) else "without it"
    scale = _scale([record for _, record in own], criterion, largest)
    return Decisions(edges, tuple(_node(order, record) for order, record in nodes), seen, scale)


def edge_name(states: Sequence[int]) -> str:
    """Return an edge as the pictures name it."""
    source, target = states
    return f"({source},{target})"


def _tried(record: Record) -> bool:
    """Whether the candidates were tried: a copy of the supernet for each, with that operation alone on the edge."""
    return record.get("trial") is not None


def _scale(records: Sequence[Record], criterion: Criterion, largest: float) -> str:
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
        weakest = min(_finite(strengths), default=0.0)
        return [strength - weakest for strength in strengths] if _tried(record) else strengths
    scores = [float(score[criterion]) for score in record["scores"]]
    sign = 1 if criterion == "loss" else -1
    least = min(_finite(sign * score for score in scores), default=0.0)
    return [sign * score - least for score in scores]


def _finite(amounts: Iterable[float]) -> list[float]:
    """Return those that can be drawn: a diverged supernet has scores that are not a number."""
    return [amount for amount in amounts if math.isfinite(amount)]


def _candidates(record: Record, bars: Sequence[float], colours: Mapping[str, Any]) -> Iterable[Candidate]:
    scores = {score["candidate"]: score for score in record["scores"]}
    strengths = dict(zip(record["candidates"], record["strengths"], strict=False))
    shares = dict(zip(record["candidates"], bars, strict=False))
    for name in record["candidates"]:
        score, strength = scores.get(name, {}), strengths.get(name, {})
        accuracy, share = score.get("accuracy"), shares.get(name)
        yield Candidate(
            name,
            colours[name].colour,
            name == record["kept"],
            None if accuracy is None else 100 * accuracy,
            score.get("loss"),
            score.get("beaten_after"),
            strength.get("value"),
            strength.get("standard_error"),
            share if share is not None and math.isfinite(share) else None,
        )


def _node(order: int, record: Record) -> NodeDecision:
    kept, dropped = record["kept"], record["dropped"]
    inputs = []
    for states in record["candidates"]:
        seen = sorted((score["round"], score["accuracy"]) for score in record["scores"] if score["candidate"] == states)
        if states in kept:
            outcome = "kept"
        elif states in dropped:
            outcome = f"dropped in round {dropped.index(states) + 1}"
        else:
            outcome = "dropped"
        inputs.append(NodeInput(edge_name(states), tuple(100 * value for _, value in seen), states in kept, outcome))
    return NodeDecision(order, record["epoch"], record["cell"], record["node"], tuple(inputs))
