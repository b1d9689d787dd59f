"""What a selection decided, as rows of two tables: the operations of the edges, then the inputs of the nodes.

The records are those of `decisions.jsonl`, parsed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archselect.figures.style import edge_name, styles
from archselect.results.metric import ACCURACY, Metric

Record = Mapping[str, Any]
LOSS = Metric("loss", "min")


@dataclass(frozen=True)
class Decisions:
    """Both tables, in the order of decision: of each edge or node, its `candidates`.

    Attributes:
        edges: Of a candidate also its metric, as it is shown, and its loss, see `tried`; `beaten_after`, how many
            images these are of where a race stopped scoring it; the strength that the selection reported, with its
            standard `error`; its `bar`, as a share of the longest in the run, `None` where nothing was seen or it is
            no number.
        nodes: Of a candidate, an in-edge, the metric without it, as it is shown, round by round, and its outcome.
        tried: Whether the scores of operations are of copies of the supernet that were discretised and trained, each
            with that operation alone on the edge; otherwise they are of the supernet without it.
        longest: How much the longest bar stands for.
        by_loss: Whether the bars are of losses, where they are of no strengths.
        metric: What the scores are in.
    """

    edges: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    tried: bool
    longest: float
    by_loss: bool
    metric: Metric

    @property
    def operations(self) -> list[dict[str, Any]]:
        return [candidate for edge in self.edges for candidate in edge["candidates"]]

    @property
    def scored(self) -> bool:
        return any(operation["value"] is not None for operation in self.operations)

    @property
    def compared(self) -> bool:
        return any(operation["strength"] is not None for operation in self.operations)

    @property
    def scored_nodes(self) -> bool:
        return any(candidate["values"] for node in self.nodes for candidate in node["candidates"])


def tabulate(records: Sequence[Record], by_loss: bool = False, metric: Metric = ACCURACY) -> Decisions:
    """Return the tables of `records`.

    Args:
        records: In the order of decision.
        by_loss: Whether the harm of a removal was measured by the loss, where the records do not name strengths.
        metric: By which it was measured otherwise.
    """
    harm = LOSS if by_loss else metric
    operations = [record for record in records if record["kind"] == "operation"]
    lengths = [abs(length) for record in operations for length in _lengths(record, harm).values()]
    longest = max(lengths, default=0.0) or 1.0
    colours = {name: style.colour for name, style in styles(n for r in operations for n in r["candidates"]).items()}
    edges, nodes = [], []
    for order, record in enumerate(records, start=1):
        row = {"order": order, "epoch": record["epoch"], "cell": record["cell"]}
        if record["kind"] == "operation":
            bars = {name: length / longest for name, length in _lengths(record, harm).items()}
            place, candidates = edge_name(record["edge_states"]), list(_operations(record, bars, colours, metric))
            edges.append({**row, "place": place, "candidates": candidates})
        elif record["kind"] == "topology":
            nodes.append({**row, "place": record["node"], "candidates": list(_inputs(record, metric))})
    return Decisions(edges, nodes, any(map(_tried, operations)), longest, by_loss, metric)


def _tried(record: Record) -> bool:
    return record.get("trial") is not None


def _lengths(record: Record, harm: Metric) -> dict[str, float]:
    """Return how long the bar of each candidate is: its strength, or how much its removal harms more than another's.

    A diverged supernet has scores that are not a number, which cannot be drawn.
    """
    if record["strengths"]:
        values = [float(strength["value"]) for strength in record["strengths"]]
    else:
        values = [-harm.sign * float(score[harm.name]) for score in record["scores"]]
    named = zip(record["candidates"], values, strict=False)
    lengths = {name: value for name, value in named if math.isfinite(value)}
    least = min(lengths.values(), default=0.0) if _tried(record) or not record["strengths"] else 0.0
    return {name: value - least for name, value in lengths.items()}


def _operations(
    record: Record, bars: Mapping[str, float], colours: Mapping[str, str], metric: Metric
) -> Iterator[dict[str, Any]]:
    scores = {score["candidate"]: score for score in record["scores"]}
    strengths = dict(zip(record["candidates"], record["strengths"], strict=False))
    for name in record["candidates"]:
        score, strength = scores.get(name, {}), strengths.get(name, {})
        yield {
            "name": name,
            "colour": colours[name],
            "kept": name == record["kept"],
            "value": metric.factor * float(score[metric.name]) if score else None,
            "loss": _number(score.get("loss")),
            "beaten_after": score.get("beaten_after"),
            "strength": _number(strength.get("value")),
            "error": _number(strength.get("standard_error")),
            "bar": bars.get(name),
        }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _inputs(record: Record, metric: Metric) -> Iterator[dict[str, Any]]:
    for states in record["candidates"]:
        own = [score for score in record["scores"] if score["candidate"] == states]
        seen = sorted((score["round"], score[metric.name]) for score in own)
        kept = states in record["kept"]
        outcome = "kept" if kept else "dropped"
        if states in record["dropped"]:
            outcome = f"dropped in round {record['dropped'].index(states) + 1}"
        values = [metric.factor * float(value) for _, value in seen]
        yield {"edge": edge_name(states), "values": values, "kept": kept, "outcome": outcome}
