from collections import Counter
from typing import Any

from tests.selection.small_selection import (
    THREE,
    WIDE_CELL,
    apply,
    cell,
    decided_by,
    inputs_kept,
    operations_kept,
    two_cells,
    undecided,
)

from archselect.selection import OperationDecision, Random, TopologyDecision


def drawn(seed: int) -> list[Any]:
    return decided_by(Random(), undecided(cell("cell", THREE, WIDE_CELL)), seed=seed)


def test_operations_and_inputs_are_uniform_and_edges_are_drawn_separately() -> None:
    decided = [drawn(seed) for seed in range(300)]
    together = Counter(tuple(operations_kept(one)["cell", edge] for edge in (0, 4)) for one in decided)
    inputs = Counter(inputs_kept(one)["cell", 4] for one in decided)
    assert set(inputs) == {(5, 6), (5, 7), (5, 8), (6, 7), (6, 8), (7, 8)}
    assert sum((count - 50) ** 2 / 50 for count in inputs.values()) < 20.5  # chi-square, p = 0.001
    assert len(together) == 9
    assert sum((count - 300 / 9) ** 2 / (300 / 9) for count in together.values()) < 26.1  # 8 degrees of freedom


def test_cell_types_are_drawn_separately() -> None:
    supernet = two_cells()
    decided_by(Random(), supernet)
    assert supernet.genotype().cell("normal").nodes != supernet.genotype().cell("reduction").nodes


def test_what_is_decided_stays_and_changes_nothing_else() -> None:
    supernet = undecided(cell("cell", THREE, WIDE_CELL))
    apply(OperationDecision("cell", 3, 2), supernet)
    apply(TopologyDecision("cell", 4, (5, 8)), supernet)
    assert decided_by(Random(), supernet, seed=7) == [
        decision
        for decision in drawn(7)
        if not (isinstance(decision, OperationDecision) and decision.edge in (3, 6, 7))  # decided, dropped, dropped
        and not (isinstance(decision, TopologyDecision) and decision.node == 4)
    ]
