"""Where an analysis measures: the run's supernet on the device, scored and trained as the run's own stages do."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from archselect.analysis.subject import Subject
from archselect.data import LabelledImages
from archselect.networks.supernet import Supernet
from archselect.selection import Scorer, Scoring
from archselect.stages.fitting import Fitting
from archselect.stages.search import architecture_images, fixed_batches
from archselect.stages.trials import StageTrials, scorer_of, trials_on

MEASURED = "measured.jsonl"


class Bench:
    """What an analysis measures with.

    Args:
        subject: The runs.
        fitting: Of the analysis' stage.
    """

    def __init__(self, subject: Subject, fitting: Fitting) -> None:
        self.subject = subject
        self.fitting = fitting
        self.device = fitting.device

    def supernet(self, epochs: int | None = None) -> Supernet:
        """Return the supernet as the search left it, or as it was after so many epochs, on the device."""
        return self.subject.run.supernet("search", epochs).to(self.device)

    def scorer(self, supernet: Supernet, scoring: Scoring) -> Scorer:
        """Return what scores a supernet on the images that trained `alpha`."""
        run = self.subject.run
        return scorer_of(supernet, self.subject.job, run.parts.search, scoring, self.device)

    def trials(self, supernet: Supernet, scoring: Scoring) -> StageTrials:
        """Return what trains copies of a supernet and keeps what was trained."""
        run = self.subject.run
        return trials_on(supernet, self.subject.job, run.parts.search, scoring, self.fitting, self.device)

    def validation(self, batch_size: int, batches: int | None = None) -> Iterable[tuple[Tensor, Tensor]]:
        """Return batches of the images that trained `alpha`, in the order in which they were validated."""
        run = self.subject.run
        _, images = architecture_images(run.parts.data, run.parts.search, run.parts.seed)
        return islice(self._batches(images, batch_size), batches)

    def test(self, batch_size: int = 512) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the test images, shuffled once and for all: a supernet may normalise by each batch's statistics."""
        return self._batches(self.subject.run.parts.data.test, batch_size)

    def _batches(self, images: LabelledImages, batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
        parts = self.subject.run.parts
        return fixed_batches(parts.data, images, batch_size, self.device, parts.seed)

    def once(self, what: str, measure: Callable[[], Any]) -> Any:
        """Return `measure()`, plain data, or what it was before the session was cut off; a step of progress."""
        folder, progress = self.fitting.folder, self.fitting.progress
        progress.say(what)
        for record in folder.read_lines(MEASURED):
            if record["what"] == what:
                progress.advance()
                return record["value"]
        folder.append_line(MEASURED, {"what": what, "value": (value := measure())})
        progress.advance()
        return value


def accuracy(network: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of images whose largest logit is that of their label."""
    correct = images = 0
    with torch.no_grad():
        for x, labels in batches:
            correct += int((network(x).argmax(dim=1) == labels).sum())
            images += len(labels)
    return correct / images
