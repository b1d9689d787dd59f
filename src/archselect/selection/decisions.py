"""What a selector decides: plain data that can be written down, read back and applied."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.selection.scoring import Score


@dataclass(frozen=True)
class Strength:
    """How strong a selector takes an operation to be; the larger, the stronger."""

    value: float  # in the selector's own unit: a weight, a drop of accuracy, a proxy's value
    standard_error: float | None = None  # where the value is a mean over batches or draws

    @staticmethod
    def mean(values: Sequence[float]) -> "Strength":
        """Return the mean of independent values with its standard error, which a single one does not have."""
        return Strength(fmean(values), stdev(values) / len(values) ** 0.5 if len(values) > 1 else None)


@dataclass(frozen=True)
class OperationDecision:
    """One operation was kept on an edge."""

    cell: str
    edge: int
    operation: int  # index among the candidates of the edge
    scores: tuple[Score, ...] = ()  # per candidate that of the supernet without it; empty if nothing was scored
    unmasked: Score | None = None  # that of the supernet with nothing masked, if it was asked for
    strengths: tuple[Strength, ...] = ()  # per candidate; empty if the selector did not compare them
    trial: str | None = None  # name of the trial that the supernet goes on from; None: from where it stands
    excluded: tuple[int, ...] = ()  # candidates that a limit forbade; scores and strengths are those of the others

    def apply(self, space: CellSpace, decisions: CellDecisions) -> CellDecisions:
        """Return `decisions` with this one added."""
        return decisions.keep_operation(self.edge, self.operation)

    def to_record(self, space: CellSpace) -> dict[str, Any]:
        """Return JSON-able data that name everything."""
        names = space.operations[self.edge]
        candidates = [name for index, name in enumerate(names) if index not in self.excluded]
        return {
            "cell": self.cell,
            "kind": "operation",
            "edge": self.edge,
            "edge_states": list(space.topology.edges[self.edge]),
            "candidates": candidates,
            **({"excluded": [names[index] for index in self.excluded]} if self.excluded else {}),
            "scores": [
                {"candidate": name, **score.to_record()} for name, score in zip(candidates, self.scores, strict=False)
            ],
            "kept": names[self.operation],
            "unmasked": self.unmasked.to_record() if self.unmasked else None,
            "strengths": [asdict(strength) for strength in self.strengths],
            **({} if self.trial is None else {"trial": self.trial}),
        }


@dataclass(frozen=True)
class TopologyRound:
    """One round of a node's decision: the score of the supernet without each of these in-edges; `dropped` left."""

    scores: Mapping[int, Score]
    dropped: int


@dataclass(frozen=True)
class TopologyDecision:
    """A node, numbered as a state, keeps these in-edges; `rounds` is what was seen while the others were dropped."""

    cell: str
    node: int
    edges: tuple[int, ...]
    rounds: tuple[TopologyRound, ...] = ()
    excluded: tuple[tuple[int, ...], ...] = ()  # sets of in-edges that a limit forbade

    def apply(self, space: CellSpace, decisions: CellDecisions) -> CellDecisions:
        """Return `decisions` with this one added."""
        return decisions.keep_inputs(space, self.node, self.edges)

    def to_record(self, space: CellSpace) -> dict[str, Any]:
        """Return JSON-able data that name everything."""
        edges = space.topology.edges
        return {
            "cell": self.cell,
            "kind": "topology",
            "node": self.node,
            "candidates": [list(edges[edge]) for edge in space.topology.edges_into(self.node)],
            "scores": [
                {"round": index, "candidate": list(edges[edge]), **score.to_record()}
                for index, round_ in enumerate(self.rounds)
                for edge, score in round_.scores.items()
            ],
            "dropped": [list(edges[round_.dropped]) for round_ in self.rounds],
            "kept": [list(edges[edge]) for edge in self.edges],
            **({"excluded": [[list(edges[edge]) for edge in one] for one in self.excluded]} if self.excluded else {}),
        }


Decision = OperationDecision | TopologyDecision


def from_record(record: Mapping[str, Any], cells: Mapping[str, CellSpace]) -> Decision:
    """Return the decision that `to_record` wrote, without its scores: they stay in the record."""
    space = cells[record["cell"]]
    if record["kind"] == "operation":
        operation = space.operations[record["edge"]].index(record["kept"])
        return OperationDecision(space.name, record["edge"], operation, trial=record.get("trial"))
    kept = tuple(space.topology.edges.index((source, target)) for source, target in record["kept"])
    return TopologyDecision(space.name, record["node"], kept)
