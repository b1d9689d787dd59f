from collections import Counter

import pytest
import torch
from tests.selection.small_selection import (
    SIX_SPACES,
    WIDE_CELL,
    apply,
    cell,
    cells_of,
    decisions_of,
    inputs_kept,
    never,
    operations_kept,
    undecided,
)

from archselect.genotype import Genotype
from archselect.models.supernet.supernet import Supernet
from archselect.selection import ONLY, OperationDecision, Random, TopologyDecision

THREE = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5")


def drawn(supernet: Supernet, seed: int) -> Genotype:
    list(decisions_of(Random(), supernet, never, seed))
    return supernet.genotype()


def test_an_architecture_is_a_function_of_the_seed() -> None:
    genotypes = []
    for random_state, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(random_state)
        genotypes.append(drawn(Supernet(cells_of("darts")), seed))
    assert genotypes[0] == genotypes[1] != genotypes[2]


def test_cell_types_are_drawn_separately() -> None:
    genotype = drawn(Supernet(cells_of("darts")), 0)
    assert genotype.cell("normal").nodes != genotype.cell("reduction").nodes


@pytest.mark.parametrize("space", SIX_SPACES)
def test_every_architecture_lies_in_the_space(space: str) -> None:
    cells = cells_of(space)
    Random().check(cells)
    for seed in range(5):
        genotype = drawn(Supernet(cells), seed)
        for name, cell_space in cells.items():
            cell_space.check(genotype.cell(name))


def test_operations_and_inputs_are_uniform() -> None:
    operations: Counter[int | str] = Counter()
    inputs: Counter[tuple[int, ...]] = Counter()
    supernet = undecided(cell("cell", THREE, WIDE_CELL))
    for seed in range(300):
        decided = [(0, decision) for decision in Random().decide(ONLY, supernet, never, seed)]
        operations[operations_kept(iter(decided))["cell", 4]] += 1
        inputs[inputs_kept(iter(decided))["cell", 4]] += 1
    assert set(inputs) == {(5, 6), (5, 7), (5, 8), (6, 7), (6, 8), (7, 8)}
    assert sum((operations[index] - 100) ** 2 / 100 for index in range(3)) < 13.8  # chi-square, p = 0.001
    assert sum((count - 50) ** 2 / 50 for count in inputs.values()) < 20.5


def test_edges_are_drawn_separately() -> None:
    supernet = undecided(cell("cell", THREE, WIDE_CELL))
    together: Counter[tuple[object, object]] = Counter()
    for seed in range(180):
        kept = operations_kept((0, decision) for decision in Random().decide(ONLY, supernet, never, seed))
        together[kept["cell", 0], kept["cell", 1]] += 1
    assert len(together) == 9
    assert sum((count - 20) ** 2 / 20 for count in together.values()) < 26.1  # chi-square, 8 degrees, p = 0.001


def test_what_is_decided_stays_and_changes_nothing_else() -> None:
    whole, rest = (undecided(cell("cell", THREE, WIDE_CELL)) for _ in range(2))
    apply(OperationDecision("cell", 3, 2), rest)
    apply(TopologyDecision("cell", 4, (5, 8)), rest)
    all_of_them = list(Random().decide(ONLY, whole, never, 7))
    assert list(Random().decide(ONLY, rest, never, 7)) == [
        decision
        for decision in all_of_them
        if not (isinstance(decision, OperationDecision) and decision.edge in (3, 6, 7))  # decided, dropped, dropped
        and not (isinstance(decision, TopologyDecision) and decision.node == 4)
    ]


def test_nothing_is_scored_and_everything_is_decided_at_one_point() -> None:
    cells = cells_of("s2")
    assert (Random().points(cells), Random().tuning, Random().scoring) == (1, None, None)
    supernet = Supernet(cells)
    list(decisions_of(Random(), supernet, never))
    assert not any(decisions.undecided_edges for decisions in supernet.decisions.values())


def test_no_operation_is_taken_to_be_stronger_than_another() -> None:
    decided = list(Random().decide(ONLY, undecided(cell("cell", THREE, WIDE_CELL)), never, 0))
    assert {decision.strengths for decision in decided if isinstance(decision, OperationDecision)} == {()}
    with pytest.raises(ValueError, match=r"^selection\.report_strengths=true .* selection=random draws at random\."):
        Random(report_strengths=True)
    with pytest.raises(ValueError, match=r"selection\.report_strengths must be true or false; got 'yes'"):
        Random(report_strengths="yes")  # type: ignore[arg-type]
