"""Selections under a limit: what they come to fits, is no other than without where the limit does not bind, is refused
where nothing fits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from random import Random as Generator

import pytest
import torch
from tests.selection.judge import decided_by, judge_of_everything
from tests.selection.small_cells import THREE, TWO, WIDE_CELL, cell, undecided
from tests.selection.test_selectors import every_selector, proxy

from archselect.costs.expected import CostModel
from archselect.genotype import Genotype
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.search_spaces.nasbench201 import NASBENCH201_CELL
from archselect.selection import Selector
from archselect.selection.limit import Bound, Budget

__all__ = ["proxy"]  # the fixture: a formula in place of a network's proxy

WITH_NONE = ("none", *THREE)
SPACES = {
    "inputs": [
        cell("normal", THREE, WIDE_CELL),
        cell("reduction", [WITH_NONE[: 2 + n % 3] for n in range(9)], WIDE_CELL),
    ],
    "all edges": [cell("cell", WITH_NONE, NASBENCH201_CELL)],
}


def model_of(spaces: list[CellSpace], generator: Generator) -> CostModel:
    """Costs at random, in which `none` is free."""
    costs = {
        space.name: tuple(
            tuple(0 if name == "none" else generator.randint(0, 9) for name in names) for names in space.operations
        )
        for space in spaces
    }
    return CostModel({space.name: space for space in spaces}, generator.randint(0, 5), costs)


def budget_at_random(
    spaces: list[CellSpace], generator: Generator, limits: int, shares: Sequence[float] = (0.0, 0.05, 0.2, 0.5)
) -> Budget:
    """Return limits between what the cheapest and the dearest architecture cost."""
    cells, bounds = {space.name: space for space in spaces}, []
    for number in range(limits):
        model = model_of(spaces, generator)
        bounds.append(Bound(f"measure {number}", model, float("inf")))
        least = Budget(cells, [bounds[-1]]).least({name: CellDecisions.none(space) for name, space in cells.items()})
        share = generator.choice(shares)
        bounds[-1] = bounds[-1]._replace(most=least + share * (model.highest - least))
    return Budget(cells, bounds)


def supernet_at_random(spaces: list[CellSpace], seed: int) -> Supernet:
    torch.manual_seed(seed)
    weights = {space.name: torch.rand(len(space.operations), space.width) + 0.01 for space in spaces}
    return undecided(*spaces, weights={name: rows.tolist() for name, rows in weights.items()})


@pytest.mark.parametrize("spaces", SPACES.values(), ids=SPACES)
@every_selector
def test_what_is_selected_fits_whatever_the_limits_and_the_scores(selector: Selector, spaces: list[CellSpace]) -> None:
    selector = replace(selector, samples=5) if selector.name == "sampling" else selector  # type: ignore[call-arg]
    selected, limited = 0, 0
    for seed in range(6):
        budget = budget_at_random(spaces, Generator(seed), limits=1 + seed % 2)
        supernet = supernet_at_random(spaces, seed)
        if not budget.fits(supernet.decisions):  # two limits at once
            continue
        decisions = decided_by(replace(selector, budget=budget), supernet, judge_of_everything(supernet, seed), seed)
        for bound in budget.bounds:
            assert bound.model.cost(supernet.genotype()) <= bound.most
        records = [decision.to_record(supernet.cell_spaces[decision.cell]) for decision in decisions]
        limited += sum("excluded" in record for record in records)
        selected += 1
        for record in records:
            if record["kind"] == "operation":
                assert record["kept"] in record["candidates"] and record["kept"] not in record.get("excluded", ())
    assert selected >= 4 and limited >= 4


@pytest.mark.parametrize("spaces", SPACES.values(), ids=SPACES)
@every_selector
def test_a_limit_that_does_not_bind_changes_nothing(selector: Selector, spaces: list[CellSpace]) -> None:
    selector = replace(selector, samples=5) if selector.name == "sampling" else selector  # type: ignore[call-arg]
    for seed in range(3):
        model = model_of(spaces, Generator(seed))
        budget = Budget({space.name: space for space in spaces}, [Bound("macs", model, model.highest)])
        made = []
        for one in (selector, replace(selector, budget=budget)):
            supernet = supernet_at_random(spaces, seed)
            decided_by(one, supernet, judge_of_everything(supernet, seed), seed)
            made.append(supernet.genotype())
        assert made[0] == made[1]


# --- What can still be completed, against all architectures of a small space. ---

SMALL = cell("cell", TWO, NASBENCH201_CELL)  # 64 architectures


def completions(space: CellSpace, decisions: CellDecisions) -> Iterator[CellDecisions]:
    open_edges = decisions.undecided_edges
    for operations in product(*(range(len(space.operations[edge])) for edge in open_edges)):
        whole = decisions
        for edge, operation in zip(open_edges, operations, strict=True):
            whole = whole.keep_operation(edge, operation)
        nodes = whole.undecided_nodes(space)
        feeding = [[edge for edge in space.topology.edges_into(node) if whole.kept[edge]] for node in nodes]
        sets = [
            combinations(edges, space.topology.edges_kept_into(node))
            for node, edges in zip(nodes, feeding, strict=True)
        ]
        for kept in product(*sets):
            complete = whole
            for node, edges in zip(nodes, kept, strict=True):
                complete = complete.keep_inputs(space, node, edges)
            yield complete


@pytest.mark.parametrize("space", [SMALL, cell("cell", TWO, WIDE_CELL)], ids=["all edges", "inputs"])
@pytest.mark.parametrize("limits", [1, 2, 3])
def test_decisions_fit_if_and_only_if_one_of_their_completions_does(space: CellSpace, limits: int) -> None:
    generator, answers = Generator(limits), set[bool]()
    for _ in range(12):
        budget = budget_at_random([space], generator, limits, shares=(0.2, 0.5, 0.8))
        decisions = CellDecisions.none(space)
        for edge in range(len(space.operations)):
            if generator.random() < 0.8:
                decisions = decisions.keep_operation(edge, generator.randrange(2))
        genotypes = [Genotype((whole.genotype(space),)) for whole in completions(space, decisions)]
        costs = [[bound.model.cost(genotype) for bound in budget.bounds] for genotype in genotypes]
        expected = any(all(c <= b.most for c, b in zip(one, budget.bounds, strict=True)) for one in costs)
        assert budget.fits({"cell": decisions}) == expected
        answers.add(expected)
        alone = Budget(budget.cells, budget.bounds[:1])
        assert alone.least({"cell": decisions}) == min(cost[0] for cost in costs)
    assert answers == {True, False}
