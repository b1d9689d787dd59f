"""A selection that is cut off, wherever, goes on with what is left: nothing is decided twice or otherwise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.selection.judge import judge_of_everything
from tests.selection.small_cells import two_cells

from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.selection_stage import DECISIONS, DecisionLoop
from archselect.selection import Decision, Discretization, Perturbation, Sampling, Selector, Tuning
from archselect.store import DamagedError, StageFolder, StageKey, Store
from archselect.training.progress import Progress

TUNED = Perturbation(tuning=Tuning(epochs_between=2))
STEPS = 9 + 2


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    folder = Store(tmp_path).folder(StageKey("selection", "loop", {"seed": 0}))
    folder.begin({}, {})
    return folder


class Session:
    """A session of a selection in a folder."""

    def __init__(self, selector: Selector, folder: StageFolder, cut_off_after: int | None = None) -> None:
        self.supernet = two_cells()
        for alpha in self.supernet.alphas.values():
            alpha.data[:, 1] = 1.0
        self.selector, self.asked, self.left = selector, list[Decision](), cut_off_after
        steps = selector.steps(self.supernet.cell_spaces)
        self.loop = DecisionLoop(steps, self, self.supernet, folder, Progress(Console(quiet=True), ""), 3)  # type: ignore[arg-type]
        self.evaluator: Any = judge_of_everything(self.supernet)
        self.evaluator.adopt = lambda name: None

    def decide(self, *arguments: Any) -> Iterator[Decision]:
        """Yield what the selector decides, until the session is cut off."""
        for decision in self.selector.decide(*arguments):
            if self.left == len(self.asked):
                raise KeyboardInterrupt
            self.asked.append(decision)
            yield decision

    def run(self) -> Supernet:
        for step in self.loop.steps:
            self.loop.decide(step, self.evaluator)
        return self.supernet


def records(folder: StageFolder) -> list[dict[str, Any]]:
    return [{**record, "seconds": None} for record in folder.read_lines(DECISIONS)]


ORDERS: list[Any] = ["random", "reverse", "entropy", "global", [3, 0, 4, 1, 2, 5, 8, 7, 6]]
SELECTORS = {"discretization": Discretization(), **{str(order): Perturbation(edge_order=order) for order in ORDERS}}


@pytest.mark.parametrize("selector", SELECTORS.values(), ids=SELECTORS)
@pytest.mark.parametrize("made", [0, 7, 18, 21])
def test_a_selection_that_was_cut_off_goes_on_with_the_next_decision(
    selector: Selector, made: int, folder: StageFolder
) -> None:
    whole = Session(selector, folder)
    genotype, expected = whole.run().genotype(), records(folder)
    folder.keep_lines(DECISIONS, lambda record: False)
    with pytest.raises(KeyboardInterrupt):
        Session(selector, folder, cut_off_after=made).run()
    again = Session(selector, folder)
    assert again.run().genotype() == genotype
    assert again.asked == whole.asked[made:]
    assert records(folder) == expected


def test_a_selection_of_one_step_begins_anew(folder: StageFolder) -> None:
    whole = Session(Sampling(), folder)
    genotype = whole.run().genotype()
    folder.keep_lines(DECISIONS, lambda record: record["edge" if "edge" in record else "node"] < 4)
    again = Session(Sampling(), folder)
    assert again.run().genotype() == genotype
    assert again.asked == whole.asked


def test_a_record_says_at_which_step_and_before_which_epoch_it_was_decided(folder: StageFolder) -> None:
    Session(TUNED, folder).run()
    assert [(record["point"], record["epoch"], record["cell"]) for record in records(folder)] == [
        (step, 2 * step, name) for step in range(STEPS) for name in ("normal", "reduction")
    ]


@pytest.mark.parametrize(("epoch", "kept"), [(0, 1), (3, 2), (4, 3), (5, 3)])
def test_decisions_that_a_checkpoint_does_not_know_are_forgotten_but_those_of_the_step_that_comes_next(
    epoch: int, kept: int, folder: StageFolder
) -> None:
    whole = Session(TUNED, folder)
    whole.run()
    resumed = Session(TUNED, folder)
    for step in whole.loop.steps:  # the checkpoint was written at the end of the epoch before
        if step.epochs.start < epoch:
            resumed.loop.decide(step, resumed.evaluator)
    resumed.loop.resume(epoch)
    assert [record["point"] for record in records(folder)] == [step for step in range(kept) for _ in range(2)]


@pytest.mark.parametrize("lost", ["last", "first", "all"])
def test_a_checkpoint_whose_decisions_are_not_written_down_is_damaged(lost: str, folder: StageFolder) -> None:
    whole = Session(TUNED, folder)
    whole.run()
    supernet = whole.supernet
    folder.keep_lines(
        DECISIONS, lambda record: lost != "all" and record["point"] != {"last": STEPS - 1, "first": 0}[lost]
    )
    resumed = Session(TUNED, folder)
    resumed.supernet.decisions = supernet.decisions
    with pytest.raises(DamagedError, match=r"decisions\.jsonl does not hold the decisions that the checkpoint"):
        resumed.loop.resume(2 * STEPS)
