"""What a search says of alpha, and what the optimizer of alpha remembered, which goes over to the selection."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from rich.console import Console
from tests.command import Run, tiny, train

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.plan import Plan
from archselect.pipeline.search_stage import describe_supernet, load_architecture_state
from archselect.pipeline.stage import run_stage
from archselect.search import Curvature
from archselect.store import Store
from archselect.training.fit import StageTrainer


def cell_supernet(*rows: tuple[float, float]) -> Supernet:
    """One cell type, `cell`, of two nodes and three edges, a row of `alpha` each."""
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (("skip_connect", "nor_conv_1x1"),) * 3)
    supernet = NASBench201Supernet({"cell": space}, channels=2, cells_per_stage=1, classes=3)
    supernet.alphas["cell"].data.copy_(torch.tensor(rows))
    return supernet


def decide(supernet: Supernet, cell: str, operations: Mapping[int, int]) -> None:
    decisions = supernet.decisions[cell]
    for edge, operation in operations.items():
        decisions = decisions.keep_operation(edge, operation)
    supernet.decisions = {**supernet.decisions, cell: decisions}


def test_entropy_is_the_mean_over_edges_of_the_mixture_weights() -> None:
    supernet = cell_supernet((0.0, 0.0), (0.0, math.log(3)), (0.0, 0.0))
    decide(supernet, "cell", {2: 1})
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    described = describe_supernet(supernet)
    assert described["entropy"]["cell"] == pytest.approx((math.log(2) + quarter + 0) / 3)
    assert described["alpha"]["cell"][1] == pytest.approx([0.25, 0.75])
    assert described["alpha"]["cell"][2] == [0, 1]


def test_skip_share_and_genotype_are_of_the_strongest_operations_under_the_decisions_so_far() -> None:
    supernet = cell_supernet((1.0, 0.0), (0.0, 1.0), (1.0, 0.0))
    described = describe_supernet(supernet)
    assert described["skip_share"] == pytest.approx(2 / 3)
    assert described["genotype"] == "cell:1:skip_connect@0/nor_conv_1x1@0+skip_connect@1"
    decide(supernet, "cell", {0: 1})
    described = describe_supernet(supernet)
    assert described["skip_share"] == pytest.approx(1 / 3)
    assert described["genotype"] == "cell:1:nor_conv_1x1@0/nor_conv_1x1@0+skip_connect@1"
    assert supernet.decisions["cell"].undecided_edges == (1, 2)


def test_a_dropped_edge_is_no_skip_connection() -> None:
    operations = (("skip_connect", "sep_conv_3x3"),) * 5
    cells = {name: CellSpace(name, CellTopology(2, 2, "concat", 2), operations) for name in ("normal", "reduction")}
    supernet = DartsSupernet(cells, channels=2, layers=3, classes=3)
    for cell in cells:
        decide(supernet, cell, dict.fromkeys(range(5), 1))
    decisions = supernet.decisions["normal"].keep_inputs(cells["normal"], 3, (2, 3))
    supernet.decisions = {**supernet.decisions, "normal": decisions}
    assert not any(describe_supernet(supernet)["alpha"]["normal"][4])
    assert describe_supernet(supernet)["skip_share"] == 0


# --- What the optimizer of alpha remembers. ---

STEPS = 2  # of alpha in an epoch: 60 images in batches of 30


def steps(state: Any) -> list[float]:
    """Return how many steps Adam counted of each architecture parameter."""
    return [float(values["step"]) for values in state.values()]


def test_the_search_keeps_it_at_its_end_and_with_every_snapshot(tiny_run: Run) -> None:
    folder = tiny_run.stage("search")
    at_end = load_architecture_state(folder)
    alphas = tiny_run.parts.space.supernet(8, 10).architecture_parameters()
    assert [values["exp_avg"].shape for values in at_end.values()] == [alpha.shape for alpha in alphas]
    for epochs in (1, 2, 3):
        assert steps(load_architecture_state(folder, epochs)) == [epochs * STEPS] * 2
    for number, values in load_architecture_state(folder, 3).items():
        assert all(torch.equal(value, at_end[number][name]) for name, value in values.items())


@pytest.mark.parametrize(("option", "known"), [("search", [3 * STEPS] * 2), ("fresh", [])])
def test_the_selection_goes_on_with_it_or_starts_afresh(
    option: str, known: list[int], tiny_run: Run, tmp_path: Path
) -> None:
    config = tiny_run.config.copy()
    config.selection.tuning.architecture_optimizer_state = option
    finished = FinishedRun(tiny_run.folder, config)
    job = replace(finished.job(Console(quiet=True)), store=Store(tmp_path))
    stage = Plan(config, finished.parts, job).selection(finished.stage("search"))
    with mock.patch.object(StageTrainer, "fit", side_effect=KeyboardInterrupt) as fit, pytest.raises(KeyboardInterrupt):
        run_stage(stage, job)
    module = fit.call_args.args[0]
    module.configure_optimizers()
    assert steps(module.architecture_state()) == known


def test_of_an_early_stop_it_is_that_of_the_supernet_that_is_kept(own_logs: str) -> None:
    rule = "{_target_: archselect.search.Curvature, window: 1, lag: 1, every: 1, factor: 1.3, earliest: 0.0}"
    command = tiny("s2", "darts", "magnitude", "evaluation=none", "search.epochs=5", own_logs)
    with mock.patch.object(Curvature, "measure", side_effect=[1.0, 1.0, 1.0, 2.0, 4.0]):
        run = train(*command, f"+search.stopping.eigenvalue={rule}", "search.snapshots=1")
    result = FinishedRun(run.folder, run.config).stage("search").result
    assert (result["kept_epochs"], result["epochs"]) == (3, 4)
    assert steps(load_architecture_state(run.stage("search"))) == [3 * STEPS] * 2


def test_a_search_with_fixed_alpha_keeps_none_and_a_selection_is_told_what_to_do(logs: str, tmp_path: Path) -> None:
    folder = train(*tiny("s2", "fixed_alpha", "random", "evaluation=none", logs)).stage("search")
    with pytest.raises(ValueError, match=r"has no architecture_optimizer\.pt, .*architecture_optimizer_state=fresh"):
        load_architecture_state(folder)
    with pytest.raises(ValueError, match=r"has no snapshots/architecture_optimizer-4\.pt"):
        load_architecture_state(tmp_path, 4)
