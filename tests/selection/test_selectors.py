"""What holds for every selector."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf
from tests.command import CONFIGS
from tests.selection.judge import decided_by, judge_of_everything
from tests.selection.small_cells import (
    SIX_SPACES,
    THREE,
    WIDE_CELL,
    WithoutNetwork,
    apply,
    cell,
    cells_of,
    two_cells,
    undecided,
)

from archselect.models.supernet.supernet import Supernet
from archselect.selection import (
    Discretization,
    Magnitude,
    OperationDecision,
    Perturbation,
    Racing,
    Random,
    Sampling,
    Scoring,
    Selector,
    Shapley,
    TopologyDecision,
    TrialTraining,
    Tuning,
    ZeroCost,
    zero_cost,
)
from archselect.selection.base import Cost

SELECTORS: Mapping[str, Selector] = {
    "perturb": Perturbation(report_strengths=True),
    "perturb_magnitude": Perturbation(name="perturb_magnitude", operation_rule="magnitude"),
    "perturb_random": Perturbation(name="perturb_random", operation_rule="random"),
    "discretization": Discretization(),
    "magnitude": Magnitude(),
    "random": Random(),
    "sampling": Sampling(samples=60),
    "shapley": Shapley(permutations=1),
    "zero_cost": ZeroCost(),
}
every_selector = pytest.mark.parametrize("selector", SELECTORS.values(), ids=SELECTORS)


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the proxy be a formula, for supernets without a network."""
    monkeypatch.setattr(
        zero_cost, "PROXIES", {"synflow": lambda supernet, weights, *_: judge_of_everything(supernet).accuracy(weights)}
    )


def selected(selector: Selector, supernet: Supernet, seed: int = 0) -> list[Any]:
    return decided_by(selector, supernet, judge_of_everything(supernet), seed)


@pytest.mark.parametrize("space", SIX_SPACES)
@every_selector
def test_the_architecture_lies_in_the_space(selector: Selector, space: str) -> None:
    cells = cells_of(space)
    selector.check(cells)
    supernet = WithoutNetwork(cells)
    selected(selector, supernet)
    for name, cell_space in cells.items():
        cell_space.check(supernet.genotype().cell(name))


@every_selector
def test_a_selection_is_a_function_of_the_supernet_and_the_seed(selector: Selector) -> None:
    made = []
    for random_state in (1, 2):
        torch.manual_seed(random_state)
        made.append(selected(selector, two_cells(), seed=3))
    assert made[0] == made[1]
    assert (selector.name == "magnitude") == (selected(selector, two_cells(), seed=4) == made[0])


@every_selector
def test_what_was_decided_before_is_left_alone(selector: Selector) -> None:
    supernet = two_cells()
    apply(OperationDecision("normal", 5, 1), supernet)
    apply(TopologyDecision("normal", 4, (5, 8)), supernet)  # drops 6 and 7
    apply(OperationDecision("reduction", 0, 2), supernet)
    edges = {(d.cell, d.edge) for d in selected(selector, supernet) if isinstance(d, OperationDecision)}
    assert edges <= {("normal", edge) for edge in (0, 1, 2, 3, 4, 8)} | {("reduction", edge) for edge in range(1, 9)}
    assert supernet.decisions["normal"].operations[5:8] == (1, None, None)
    assert supernet.decisions["normal"].kept[5:] == (True, False, False, True)
    assert supernet.decisions["reduction"].operations[0] in (2, None)
    supernet.genotype()
    assert selected(selector, supernet) == []


@every_selector
def test_deciding_changes_nothing_in_the_supernet_and_asks_for_no_gradient(selector: Selector) -> None:
    supernet = two_cells()
    before = supernet.decisions, [alpha.clone() for alpha in supernet.architecture_parameters()]
    judge = judge_of_everything(supernet)
    next(selector.decide(selector.steps(supernet.cell_spaces)[0], supernet, judge, 0))
    assert supernet.decisions == before[0]
    assert all(torch.equal(x, y) for x, y in zip(supernet.architecture_parameters(), before[1], strict=True))
    asked = [weights for round_ in judge.rounds for candidate in round_ for weights in candidate.values()]
    assert not any(weights.requires_grad for weights in asked)


@every_selector
def test_an_operation_has_a_strength_where_it_is_compared_and_the_strongest_is_kept(selector: Selector) -> None:
    strengths = [(d.operation, d.strengths) for d in selected(selector, two_cells()) if hasattr(d, "operation")]
    if "random" in selector.name:
        assert all(found == () for _, found in strengths)
        return
    for kept, found in strengths:
        assert len(found) == 3
        if selector.name != "sampling":  # whose best architecture need not have the best mean on every edge
            assert found[kept].value == max(strength.value for strength in found)


# What there is to do

DARTS_STEPS = 14 + 3


@pytest.mark.parametrize(
    ("selector", "steps", "cost", "described"),
    [
        (Perturbation(), DARTS_STEPS, Cost(81, 196), "perturb, at most 17 decision steps"),
        (Perturbation(operation_rule="random", tuning=Tuning(epochs_between=0)), DARTS_STEPS, Cost(0),
         "perturb, at most 17 decision steps"),
        (Discretization(training=TrialTraining(epochs=4)), DARTS_STEPS, Cost(4 * 196),
         "discretization, at most 17 decision steps; expensive: trains at most 196 supernets, 4 epochs each"),
        *((selector, 1, Cost(0), selector.name) for name, selector in SELECTORS.items() if name in
          ("magnitude", "random", "sampling", "shapley", "zero_cost")),
    ],
)  # fmt: skip
def test_a_selector_says_what_it_takes(selector: Selector, steps: int, cost: Cost, described: str) -> None:
    cells = cells_of("darts")
    assert len(selector.steps(cells)) == steps
    assert selector.cost(cells) == cost
    assert selector.describe(cells, at_most=True) == described


def test_an_edge_with_one_candidate_costs_nothing() -> None:
    cells = {"cell": cell("cell", [["skip_connect"], THREE, ["skip_connect"]])}
    assert Perturbation(tuning=Tuning(epochs_between=0)).cost(cells) == Cost(0, 3)
    assert Discretization().cost(cells) == Cost(3 * 5)


def test_alpha_must_be_trained_where_its_size_is_read() -> None:
    reading: list[Selector] = [
        *(Magnitude(), Sampling(), Perturbation(operation_rule="magnitude")),
        *(Perturbation(edge_order="entropy"), Discretization(edge_order="entropy")),
    ]
    assert all(selector.needs_trained_alpha for selector in reading)
    others: list[Selector] = [Perturbation(), Discretization(), Random(), Sampling(distribution="uniform"), Shapley()]
    assert not any(selector.needs_trained_alpha for selector in [*others, ZeroCost()])


# What cannot be


@every_selector
def test_a_space_without_a_choice_is_refused_by_those_that_compare(selector: Selector) -> None:
    cells = {"cell": cell("cell", ("skip_connect",), WIDE_CELL)}
    if selector.name in ("magnitude", "random", "perturb_magnitude", "perturb_random"):
        selector.check(cells)
        supernet = undecided(*cells.values())
        selected(selector, supernet)
        assert supernet.decisions["cell"].undecided_nodes(cells["cell"]) == ()
    else:
        with pytest.raises(ValueError, match=f"selection={selector.name} compares .* has one only. Give at least one"):
            selector.check(cells)
    selector.check({"cell": cell("cell", [["skip_connect"]] * 8 + [THREE], WIDE_CELL)})


RACE = r"selection\.scoring must not be a race: selection=.* Use selection/scoring=full"
NO_NODE = r"got 'racing'\. .* write selection/scoring=full or selection/scoring=racing, with a slash"


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        *((kind, {"report_strengths": 1}, r"selection\.report_strengths must be true or false; got 1")
          for kind in (Magnitude, Perturbation, Discretization, Sampling, Shapley, ZeroCost)),
        *((kind, {"scoring": Racing()}, RACE) for kind in (Sampling, Shapley, ZeroCost)),
        *((kind, {"scoring": "racing"}, NO_NODE) for kind in (Perturbation, Discretization, Sampling, Shapley)),
        (Perturbation, {"operation_rule": "any"}, "operation_rule must be one of perturbation, magnitude, random; got"),
        (Perturbation, {"operation_criterion": "los"}, "operation_criterion must be one of metric, loss; got 'los'"),
        (Perturbation, {"topology_criterion": "acc"}, "topology_criterion must be one of metric, loss; got 'acc'"),
        (Perturbation, {"topology_rounds": "both"}, "must be one of independent, cumulative; got 'both'"),
        (Perturbation, {"tuning": None}, r"selection\.tuning must be a node of options"),
        (Perturbation, {"operation_rule": "random", "report_strengths": True}, "selection=perturb draws at random"),
        (Perturbation, {"operation_rule": "magnitude", "score_unmasked": True}, "operation_rule=magnitude none is m"),
        (Perturbation, {"operation_rule": "magnitude", "edge_order": "global"}, "operation_rule is magnitude. Use an"),
        (Discretization, {"criterion": "acc"}, r"selection\.criterion must be one of metric, loss; got 'acc'"),
        (Discretization, {"edge_order": "global"}, r"edge_order=global would train .* Use another order"),
        (Discretization, {"training": 5}, r"selection\.training must be a node of options, .* got 5"),
        (Sampling, {"samples": 0}, r"selection\.samples must be a whole number above 0; got 0"),
        (Sampling, {"distribution": "beta"}, r"selection\.distribution must be one of alpha, uniform; got 'beta'"),
        (Shapley, {"permutations": 0}, r"selection\.permutations must be a whole number above 0; got 0"),
        (Shapley, {"truncation": 1.5}, r"selection\.truncation must lie between 0 and 1; got 1.5"),
        (Shapley, {"criterion": "loss"}, r"truncation=0\.5 is a share .* worth is negative. Use truncation=null"),
        (ZeroCost, {"batches": 0}, r"selection\.batches must be a whole number above 0; got 0"),
        (ZeroCost, {"scoring": Scoring(batch_norm="running")}, "batch_norm=running cannot be honoured"),
        (ZeroCost, {"scoring": Scoring(batches=1), "batches": 2}, r"batches=2 is more than selection\.scoring\.batch"),
        (ZeroCost, {"proxy": "accuracy"}, r"selection\.proxy must be one of synflow; got 'accuracy'"),
        (Scoring, {"batch_norm": "eval"}, "batch_norm must be one of batch, running, recalibrated; got 'eval'"),
        (Scoring, {"recalibration_batches": 0}, "recalibration_batches must be a whole number above 0; got 0"),
        (Scoring, {"batch_size": 0}, r"selection\.scoring\.batch_size must be a whole number above 0; got 0"),
        (Scoring, {"batches": -1}, r"selection\.scoring\.batches must be a whole number above 0; got -1"),
        (Scoring, {"held_out_share": 1.0}, r"selection\.scoring\.held_out_share must lie between 0 and 1; got 1.0"),
        (Racing, {"confidence": 0.5}, r"selection\.scoring\.confidence must lie between 0\.5 and 1; got 0.5"),
        (Racing, {"confidence": 1.0}, r"selection\.scoring\.confidence must lie between 0\.5 and 1; got 1.0"),
        (Racing, {"first_check": 1}, "first_check must be a whole number above 1, for a spread; got 1"),
        (Racing, {"growth": 1.0}, r"selection\.scoring\.growth must be above 1; got 1.0"),
        (Racing, {"batch_norm": "recalibrated"}, "batch_norm=recalibrated prepares the supernet for one"),
        (TrialTraining, {"epochs": 0}, r"selection\.training\.epochs must be a whole number above 0; got 0"),
        (TrialTraining, {"learning_rate": -1}, r"training\.learning_rate must be a finite number, 0 or more; got -1"),
        (TrialTraining, {"schedule": "step"}, r"training\.schedule must be one of constant, cosine; got 'step'"),
        (Tuning, {"epochs_between": -1}, r"tuning\.epochs_between must be a whole number, 0 or more; got -1"),
        (Tuning, {"epochs_between": 2.5}, r"tuning\.epochs_between must be a whole number, 0 or more; got 2.5"),
        (Tuning, {"epochs": 0}, r"selection\.tuning\.epochs must be a whole number above 0; got 0"),
        (Tuning, {"learning_rate": float("nan")}, "learning_rate must be a finite number, 0 or more; got nan"),
        (Tuning, {"schedule": "step"}, r"selection\.tuning\.schedule must be one of constant, cosine; got 'step'"),
        (Tuning, {"architecture_optimizer_state": "old"}, "state must be one of search, fresh; got 'old'"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


FILES = [path for path in sorted((CONFIGS / "selection").rglob("*.yaml")) if "_target_" in path.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_defaults_in_python_are_those_of_the_file(path: Path) -> None:
    config: Any = OmegaConf.to_container(OmegaConf.load(path))
    for node in [config, *(value for value in config.values() if isinstance(value, dict))]:
        built = get_class(node.pop("_target_"))()
        for key, value in node.items():
            if key != "defaults" and not isinstance(value, dict) and "${" not in str(value):
                assert getattr(built, key) == value, key


@pytest.mark.parametrize("kind", [Magnitude, Random])
def test_a_selector_has_only_the_options_that_it_heeds(kind: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'scoring'"):
        kind(scoring=Scoring())
    assert (kind().tuning, kind().scoring, kind().report_strengths) == (None, None, False)
