from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.selection.small_selection import never

from archselect.models.cell_space import CellDecisions, CellSpace, CellTopology
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.selection_stage import TRIALS, StageEvaluator
from archselect.selection import Score, Scorer, Scoring, TrialTraining
from archselect.store import StageFolder, StageKey, Store

SPACE = CellSpace("cell", CellTopology(1, 2, "last", None), (("skip_connect", "nor_conv_1x1"),) * 3)
TRAINING = TrialTraining(epochs=2)


def small() -> Supernet:
    torch.manual_seed(0)
    return NASBench201Supernet({"cell": SPACE}, channels=2, cells_per_stage=1, classes=3)


def score_of(supernet: Supernet) -> Scorer:
    generator = torch.Generator().manual_seed(1)
    batches = [(torch.randn(6, 3, 8, 8, generator=generator), torch.randint(3, (6,), generator=generator))]
    return Scorer(supernet, batches, Scoring(), [], (0, "selection"))


def keeping(supernet: Supernet, edge: int, operation: int) -> Mapping[str, CellDecisions]:
    return {"cell": supernet.decisions["cell"].keep_operation(edge, operation)}


class Session(StageEvaluator):
    """What a session tries in a folder; training adds to every parameter what the trial's name is long."""

    def __init__(self, folder: StageFolder) -> None:
        self.trained = list[tuple[str, TrialTraining]]()
        super().__init__(small(), never, never, Scoring(), SimpleNamespace(folder=folder), torch.device("cpu"))  # type: ignore[arg-type]

    def _scorer_of(self, supernet: Supernet) -> Scorer:
        return score_of(supernet)

    def _train(self, copy: Supernet, name: str, training: TrialTraining) -> None:
        self.trained.append((name, training))
        copy.train()
        with torch.no_grad():
            for parameter in copy.parameters():
                parameter += 0.01 * len(name)

    def try_both(self, edge: int) -> list[Score]:
        return [
            self.train(f"edge{edge}/{name}", keeping(self.supernet, edge, operation), TRAINING)
            for operation, name in enumerate(SPACE.operations[edge])
        ]


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    folder = Store(tmp_path).folder(StageKey("selection", "trials", {"seed": 0}))
    folder.begin({}, {})
    return folder


def files(folder: StageFolder) -> set[str]:
    trials = folder.path / "scratch" / "trials"
    return {str(file.relative_to(trials)) for file in trials.rglob("*.pt")}


def state(supernet: Supernet) -> dict[str, Any]:
    return {name: value.clone() for name, value in supernet.state_dict().items() if isinstance(value, torch.Tensor)}


def test_a_trial_is_recorded_and_not_trained_again_by_any_session(folder: StageFolder) -> None:
    first = Session(folder)
    scores = first.try_both(0)
    assert first.trained == [("edge0/skip_connect", TRAINING), ("edge0/nor_conv_1x1", TRAINING)]
    assert scores[0].loss != scores[1].loss
    assert [record["trial"] for record in folder.read_lines(TRIALS)] == ["edge0/skip_connect", "edge0/nor_conv_1x1"]
    assert files(folder) == {"edge0/skip_connect.pt", "edge0/nor_conv_1x1.pt"}
    second = Session(folder)
    assert second.try_both(0) == first.try_both(0) == scores
    assert (len(first.trained), second.trained) == (2, [])


def test_a_trial_that_was_cut_off_before_its_record_is_trained_again(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any) -> None:
        assert files(folder) == {"edge0/skip_connect.pt"}, "the weights come first"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StageFolder, "append_line", cut_off)
        with pytest.raises(KeyboardInterrupt):
            Session(folder).try_both(0)
    again = Session(folder)
    again.try_both(0)
    assert len(again.trained) == len(folder.read_lines(TRIALS)) == 2


def test_the_score_is_that_of_the_trained_copy_under_its_decisions(folder: StageFolder) -> None:
    session = Session(folder)
    scores = session.try_both(0)
    decisions = keeping(session.supernet, 0, 1)
    session.adopt("edge0/nor_conv_1x1")
    assert session.supernet.decisions == decisions
    assert session.score([session.supernet.mixture_weights().detach()]) == [scores[1]]


def test_a_trial_leaves_the_supernet_as_it_is(folder: StageFolder) -> None:
    session = Session(folder)
    supernet = session.supernet.eval()
    before, decisions = state(supernet), supernet.decisions
    score = session.score([supernet.mixture_weights().detach()])
    session.try_both(1)
    assert supernet.decisions == decisions
    assert not any(module.training for module in supernet.modules())
    assert all(torch.equal(value, before[name]) for name, value in state(supernet).items())
    assert session.score([supernet.mixture_weights().detach()]) == score


def test_the_supernet_goes_on_from_the_adopted_trial_and_forgets_the_others_of_its_group_only(
    folder: StageFolder,
) -> None:
    session = Session(folder)
    before = state(session.supernet)
    for edge in (0, 1):
        session.try_both(edge)
    session.adopt("edge1/nor_conv_1x1")
    assert files(folder) == {"edge0/skip_connect.pt", "edge0/nor_conv_1x1.pt", "edge1/nor_conv_1x1.pt"}
    moved = 0.01 * len("edge1/nor_conv_1x1")
    for name, parameter in session.supernet.named_parameters():
        assert torch.allclose(parameter, before[name] + moved)
    assert session.supernet.decisions["cell"].operations == (None, 1, None)


def test_the_next_trial_starts_from_the_adopted_one_and_a_later_session_adopts_it_again(folder: StageFolder) -> None:
    session = Session(folder)
    session.try_both(0)
    session.adopt("edge0/nor_conv_1x1")
    session.try_both(1)
    session.adopt("edge1/skip_connect")
    assert session.supernet.decisions["cell"].operations == (1, 0, None)
    later = Session(folder)
    for name in ("edge0/nor_conv_1x1", "edge1/skip_connect"):
        later.adopt(name)
    assert later.supernet.decisions == session.supernet.decisions
    assert all(torch.equal(value, state(session.supernet)[name]) for name, value in state(later.supernet).items())
