"""What is counted while candidates are scored side by side."""

import math

import torch
from torch import Tensor

from archselect.distributed.process_group import all_reduce, place
from archselect.selection.race import Race, beaten
from archselect.selection.score import Score


class Tallies:
    """What was counted of each candidate, batch by batch; it stays on the device until a race or the end asks.

    Attributes:
        running: Indices of the candidates that are still scored.
    """

    def __init__(self, candidates: int) -> None:
        self.running = list(range(candidates))
        self._counted: list[list[Tensor]] = [[] for _ in self.running]
        self._images: list[int] = []
        self._gathered = 0
        self._beaten_after: dict[int, int] = {}

    def add(self, counted: Tensor, labels: Tensor) -> None:
        """Add (correct, summed cross-entropy) of the running candidates on one batch."""
        self._images.append(len(labels))
        for index, row in zip(self.running, counted.clone().unbind(), strict=True):  # a replay overwrites its output
            self._counted[index].append(row)

    def leave_out(self, labels: Tensor) -> None:
        """Leave a batch to another process."""
        self.add(torch.zeros(len(self.running), 2, dtype=torch.float64, device=labels.device), labels)

    def _gather(self) -> None:
        """Take over what the other processes have counted since the last time; each batch is counted by one of them."""
        new = len(self._images) - self._gathered
        if place().world_size == 1 or not new:
            return
        counted = torch.stack([torch.stack(self._counted[index][-new:]) for index in self.running])
        for index, rows in zip(self.running, all_reduce(counted), strict=True):
            self._counted[index][-new:] = rows.unbind()
        self._gathered = len(self._images)

    def runners(self, race: Race) -> list[int]:
        """Return the indices of the candidates that are still in the race."""
        return [index for index in self.running if index < race.runners]

    def drop_beaten(self, race: Race, confidence: float) -> None:
        """Stop scoring the candidates that are beaten; waits for the device."""
        self._gather()
        runners = self.runners(race)
        scores = torch.stack([torch.stack(self._counted[index]) for index in runners], dim=1).cpu()
        per_image = scores / torch.tensor(self._images, dtype=scores.dtype).view(-1, 1, 1)
        for index, out in zip(runners, beaten(race.lead(per_image), confidence), strict=True):
            if out:
                self.running.remove(index)
                self._beaten_after[index] = sum(self._images)

    def scores(self) -> list[Score]:
        """Return the score of each candidate; waits for the device."""
        if not self._images:
            raise ValueError("There is no image to score on: give more training images or a larger held-out share.")
        self._gather()
        counted = torch.cat([torch.stack(rows) for rows in self._counted]).tolist()
        scores = []
        for index, rows in enumerate(self._counted):
            here, counted = counted[: len(rows)], counted[len(rows) :]
            images = sum(self._images[: len(rows)])
            correct, loss = (math.fsum(column) for column in zip(*here, strict=True))
            per_batch = tuple((c / n, total / n) for (c, total), n in zip(here, self._images, strict=False))
            scores.append(Score(correct / images, loss / images, self._beaten_after.get(index), per_batch))
        return scores
