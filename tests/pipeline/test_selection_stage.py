"""A selection that is cut off, wherever, goes on with what is left: nothing is decided or tried twice or otherwise."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.selection.judge import judge_of_everything, never
from tests.selection.small_cells import two_cells

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.selection_stage import DECISIONS, TRIALS, DecisionLoop, StageEvaluator
from archselect.selection import (
    Decision,
    Discretization,
    Perturbation,
    Sampling,
    Score,
    Scorer,
    Scoring,
    Selector,
    TrialTraining,
    Tuning,
)
from archselect.store import DamagedError, StageFolder, StageKey, Store
from archselect.tasks import Classification
from archselect.training.progress import Progress

TUNED = Perturbation(tuning=Tuning(epochs_between=2))
STEPS = 9 + 2


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    folder = Store(tmp_path).folder(StageKey("selection", "stage", {"seed": 0}))
    folder.begin({}, {})
    return folder


class Session:
    """A session of a selection in a folder."""

    budget = None

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


@pytest.mark.parametrize("lost", [{STEPS - 1}, {0}, set(range(STEPS))], ids=["last", "first", "all"])
def test_a_checkpoint_whose_decisions_are_not_written_down_is_damaged(lost: set[int], folder: StageFolder) -> None:
    resumed = Session(TUNED, folder)
    resumed.supernet.decisions = Session(TUNED, folder).run().decisions
    folder.keep_lines(DECISIONS, lambda record: record["point"] not in lost)
    with pytest.raises(DamagedError, match=r"decisions\.jsonl does not hold the decisions that the checkpoint"):
        resumed.loop.resume(2 * STEPS)


# --- Copies trained on trial. ---

SPACE = CellSpace("cell", CellTopology(1, 2, "last", None), (("skip_connect", "nor_conv_1x1"),) * 3)
SKIP, CONVOLUTION = "edge0/skip_connect", "edge0/nor_conv_1x1"


class Trials(StageEvaluator):
    """What a session tries in a folder; training adds to every parameter what the trial's name is long."""

    def __init__(self, folder: StageFolder) -> None:
        torch.manual_seed(0)
        supernet = NASBench201Supernet({"cell": SPACE}, channels=2, cells_per_stage=1, classes=3)
        job: Any = SimpleNamespace(fitted_task=Classification())
        super().__init__(supernet, job, never, Scoring(), SimpleNamespace(folder=folder), torch.device("cpu"))  # type: ignore[arg-type]
        self.trained = list[str]()

    def _scorer_of(self, supernet: Supernet) -> Scorer:
        generator = torch.Generator().manual_seed(1)
        batches = [(torch.randn(6, 3, 8, 8, generator=generator), torch.randint(3, (6,), generator=generator))]
        return Scorer(supernet, Classification(), batches, Scoring(), [], (0, "selection"))

    def _train(self, copy: Supernet, name: str, training: TrialTraining) -> None:
        self.trained.append(name)
        copy.train()
        with torch.no_grad():
            for parameter in copy.parameters():
                parameter += 0.01 * len(name)

    def try_both(self, edge: int) -> list[Score]:
        decisions = self.supernet.decisions["cell"]
        return [
            self.train(f"edge{edge}/{name}", {"cell": decisions.keep_operation(edge, operation)}, TrialTraining())
            for operation, name in enumerate(SPACE.operations[edge])
        ]

    def own_score(self) -> Score:
        (score,) = self.score([self.supernet.mixture_weights().detach()])
        return score


def files(folder: StageFolder) -> set[str]:
    trials = folder.path / "scratch" / "trials"
    return {str(file.relative_to(trials).with_suffix("")) for file in trials.rglob("*.pt")}


def state(supernet: Supernet) -> dict[str, Any]:
    return {name: value.clone() for name, value in supernet.state_dict().items() if isinstance(value, torch.Tensor)}


def same_state(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_trial_is_recorded_and_not_trained_again_by_any_session(folder: StageFolder) -> None:
    first = Trials(folder)
    scores = first.try_both(0)
    assert first.trained == [record["trial"] for record in folder.read_lines(TRIALS)] == [SKIP, CONVOLUTION]
    assert scores[0].loss != scores[1].loss
    assert files(folder) == {SKIP, CONVOLUTION}
    second = Trials(folder)
    assert second.try_both(0) == first.try_both(0) == scores
    assert (len(first.trained), second.trained) == (2, [])


def test_a_trial_that_was_cut_off_before_its_record_is_trained_again(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any) -> None:
        assert files(folder) == {SKIP}, "the weights come first"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StageFolder, "append_line", cut_off)
        with pytest.raises(KeyboardInterrupt):
            Trials(folder).try_both(0)
    again = Trials(folder)
    again.try_both(0)
    assert len(again.trained) == len(folder.read_lines(TRIALS)) == 2


def test_a_trial_leaves_the_supernet_as_it_is(folder: StageFolder) -> None:
    trials = Trials(folder)
    supernet = trials.supernet.eval()
    before, decisions, score = state(supernet), supernet.decisions, trials.own_score()
    trials.try_both(1)
    assert supernet.decisions == decisions
    assert not any(module.training for module in supernet.modules())
    assert same_state(state(supernet), before)
    assert trials.own_score() == score


def test_the_supernet_goes_on_from_the_adopted_trial_and_forgets_the_others_of_its_group_only(
    folder: StageFolder,
) -> None:
    trials = Trials(folder)
    before = state(trials.supernet)
    trials.try_both(1)
    scores = trials.try_both(0)
    trials.adopt(CONVOLUTION)
    assert files(folder) == {"edge1/skip_connect", "edge1/nor_conv_1x1", CONVOLUTION}
    for name, parameter in trials.supernet.named_parameters():
        assert torch.allclose(parameter, before[name] + 0.01 * len(CONVOLUTION))
    assert trials.supernet.decisions["cell"].operations == (1, None, None)
    assert trials.own_score() == scores[1]


def test_the_next_trial_starts_from_the_adopted_one_and_a_later_session_adopts_it_again(folder: StageFolder) -> None:
    trials, later = Trials(folder), Trials(folder)
    for edge, name in enumerate((CONVOLUTION, "edge1/skip_connect")):
        trials.try_both(edge)
        trials.adopt(name)
    assert trials.supernet.decisions["cell"].operations == (1, 0, None)
    for name in (CONVOLUTION, "edge1/skip_connect"):
        later.adopt(name)
    assert later.supernet.decisions == trials.supernet.decisions
    assert same_state(state(later.supernet), state(trials.supernet))
