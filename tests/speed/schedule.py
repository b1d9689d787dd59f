"""The paper's grid on K GPUs whose jobs are preempted: `python -m tests.speed.schedule --gpus 8`.

A simulation of jobs that share a store: one goes on from the last epoch of its last session, waits where another is at
the stage that it needs, and finds what is finished. It says how long the grid takes and what is lost.
"""

import argparse
import heapq
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from rich.console import Console

from .grid import GridJob, Part, grid


@dataclass
class Outcome:
    """What the grid came to, in hours of one GPU unless said otherwise.

    Attributes:
        elapsed: Wall time until the last job ended, in hours.
        work: Of all parts, each once.
        lost: Epochs that a preemption cut off, and made again.
        starting: Starts of processes, after preemptions too.
        waiting: For another job that was at the same part.
        preemptions: How many there were.
    """

    elapsed: float = 0.0
    work: float = 0.0
    lost: float = 0.0
    starting: float = 0.0
    waiting: float = 0.0
    preemptions: int = 0


@dataclass
class _Running:
    job: GridJob
    part: Part | None
    since: float
    session: int


@dataclass
class Simulation:
    """Runs jobs on GPUs.

    Args:
        jobs: In the order in which they are submitted.
        gpus: How many run at a time.
        hours_between_preemptions: Of one GPU, on average (exponentially distributed); None: there are none.
        start: Hours that a session needs before its first epoch: imports, decoding of images, CUDA graphs.
        seed: Of the preemptions.
    """

    jobs: Iterable[GridJob]
    gpus: int
    hours_between_preemptions: float | None
    start: float = 60 / 3600
    seed: int = 0
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise ValueError(f"--gpus must be at least 1; got {self.gpus}.")
        if self.hours_between_preemptions is not None and self.hours_between_preemptions <= 0:
            raise ValueError(f"--between must be above 0 hours; got {self.hours_between_preemptions}.")
        self._queue = deque(self.jobs)
        self._done: dict[str, float] = {}  # epochs made of each part
        self._at: dict[str, int] = {}  # which GPU is at a part
        self._running: dict[int, _Running] = {}
        self._waiting: dict[str, list[int]] = {}
        self._events: list[tuple[float, int, int, int, str]] = []
        self._order, self._sessions = count(), count()
        self._chance = random.Random(self.seed)

    def run(self) -> Outcome:
        """Run all jobs to their end."""
        for gpu in range(self.gpus):
            self._next_job(gpu, 0.0)
        while self._events:
            now, _, gpu, session, what = heapq.heappop(self._events)
            running = self._running.get(gpu)
            if running is not None and running.session == session:
                {"started": self._advance, "part done": self._part_done, "preempted": self._preempted}[what](gpu, now)
                self.outcome.elapsed = max(self.outcome.elapsed, now)
        return self.outcome

    def _next_job(self, gpu: int, now: float) -> None:
        self._running.pop(gpu, None)
        if self._queue:
            session = next(self._sessions)
            self._running[gpu] = _Running(self._queue.popleft(), None, now, session)
            self.outcome.starting += self.start
            self._at_time(now + self.start, gpu, "started")
            if self.hours_between_preemptions is not None:
                self._at_time(now + self._chance.expovariate(1 / self.hours_between_preemptions), gpu, "preempted")

    def _at_time(self, time: float, gpu: int, what: str) -> None:
        heapq.heappush(self._events, (time, next(self._order), gpu, self._running[gpu].session, what))

    def _advance(self, gpu: int, now: float) -> None:
        """Begin the first part of the job that is not finished, or wait for who is at it."""
        running = self._running[gpu]
        left = [part for part in running.job.parts if self._done.get(part.name, 0) < part.epochs]
        running.since = now
        if not left:
            self._next_job(gpu, now)
        elif left[0].name in self._at:
            running.part = None
            self._waiting.setdefault(left[0].name, []).append(gpu)
        else:
            running.part = left[0]
            self._at[left[0].name] = gpu
            epochs = left[0].epochs - self._done.get(left[0].name, 0)
            self._at_time(now + epochs * left[0].seconds / 3600, gpu, "part done")

    def _part_done(self, gpu: int, now: float) -> None:
        part = self._running[gpu].part
        assert part is not None
        self.outcome.work += part.hours
        self._done[part.name] = part.epochs
        self._release(part, now)
        self._advance(gpu, now)

    def _preempted(self, gpu: int, now: float) -> None:
        """Keep the whole epochs, and put the job to the front of the queue."""
        running = self._running[gpu]
        self.outcome.preemptions += 1
        if running.part is not None:
            part, hours = running.part, now - running.since
            made = int(hours * 3600 / part.seconds)
            self._done[part.name] = self._done.get(part.name, 0) + made
            self.outcome.lost += hours - made * part.seconds / 3600
            self._release(part, now)
        else:
            for gpus in self._waiting.values():
                if gpu in gpus:
                    gpus.remove(gpu)
                    self.outcome.waiting += now - running.since
        self._queue.appendleft(running.job)
        self._next_job(gpu, now)

    def _release(self, part: Part, now: float) -> None:
        del self._at[part.name]
        for gpu in self._waiting.pop(part.name, []):
            self.outcome.waiting += now - self._running[gpu].since
            self._advance(gpu, now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.speed.schedule", description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 32], help="how many (%(default)s)")
    parser.add_argument("--between", type=float, default=2.0, help="hours between preemptions of a GPU (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    jobs = list(grid())
    parts = {part.name: part for one in jobs for part in one.parts}
    console.print(
        f"{len(jobs)} jobs of {len(parts)} different stages, {sum(part.hours for part in parts.values()):.0f} hours of "
        f"one GPU, {sum(part.megabytes for part in parts.values()) / 1000:.1f} GB of results."
    )
    console.print("| GPUs | preemptions | hours | epochs lost | starts | waiting |")
    console.print("|---|---|---|---|---|---|")
    for gpus in options.gpus:
        for between in (None, options.between):
            out = Simulation(jobs, gpus, between, seed=options.seed).run()
            shares = [f"{100 * hours / out.work:.2f} %" for hours in (out.lost, out.starting, out.waiting)]
            console.print(f"| {gpus} | {out.preemptions} | {out.elapsed:.0f} | {' | '.join(shares)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
