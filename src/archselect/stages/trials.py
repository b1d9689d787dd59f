"""What a selector may try on the supernet of a selection stage."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from torch import Tensor

from archselect.networks.cell_space import CellDecisions
from archselect.networks.mixture import MixtureWeights
from archselect.networks.supernet import Supernet
from archselect.selection import Race, Score, Scorer
from archselect.selection.selector import TrialTraining
from archselect.stages.fitting import SCRATCH, load_state, save
from archselect.store import StageFolder

TRIALS = "trials.jsonl"

Train = Callable[[Supernet, str, TrialTraining], None]
"""(a copy of the supernet, the trial's name, how): trains the copy in place."""


class StageTrials:
    """Scores of the supernet as it stands, and trained copies of it, kept in the stage's folder.

    Args:
        supernet: On its device.
        folder: Of the stage.
        scorer: Makes the scorer of a supernet; returns None if the selector does not score.
        train: Trains a copy.
    """

    def __init__(
        self,
        supernet: Supernet,
        folder: StageFolder,
        scorer: Callable[[Supernet], Scorer | None],
        train: Train,
    ) -> None:
        self.supernet = supernet
        self.folder = folder
        self._make_scorer = scorer
        self._scorer = scorer(supernet)
        self._train = train

    def score(self, candidates: Sequence[MixtureWeights], race: Race | None = None) -> list[Score]:
        """See `Trials`."""
        return self.scorer(candidates, race)

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """See `Trials`."""
        return self.scorer.read()

    def train(self, name: str, decisions: Mapping[str, CellDecisions], training: TrialTraining) -> Score:
        """See `Trials`. The weights are written first, so a trial that is recorded can be adopted."""
        for record in self.folder.read_lines(TRIALS):
            if record["trial"] == name:
                return Score(record["accuracy"], record["loss"])
        copy = deepcopy(self.supernet)
        copy.decisions = decisions
        self._train(copy, name, training)
        scorer = self._make_scorer(copy)
        assert scorer is not None, "a selector that trains on trial names its scoring"
        (score,) = scorer([copy.mixture_weights().detach()])
        self._file(name).parent.mkdir(parents=True, exist_ok=True)
        save(copy.cpu().state_dict(), self._file(name))
        self.folder.append_line(TRIALS, {"trial": name, **score.to_record()})
        return score

    def adopt(self, name: str) -> None:
        """Let the supernet stand where a trial ended, and forget the weights of the others of its group."""
        self.supernet.load_state_dict(load_state(self._file(name)))
        for file in self._file(name).parent.iterdir():
            if file != self._file(name):
                file.unlink()

    @property
    def scorer(self) -> Scorer:
        """Scores the supernet."""
        assert self._scorer is not None, "a selector that scores names its scoring"
        return self._scorer

    def _file(self, name: str) -> Path:
        return self.folder.path / SCRATCH / "trials" / f"{name}.pt"
