"""The paper's whole grid on K GPUs whose jobs are preempted: a simulation.

Jobs share a store: one goes on from the last epoch of its last session, waits where another is at the stage that it
needs, and finds what is finished. It says how long the grid takes and what is lost.

The grid is DARTS-PT with four seeds each: S1 to S4 on three data sets with three methods; the DARTS space on CIFAR-10
with seven methods; NAS-Bench-201 with three methods, looked up in its table.
"""

import heapq
import math
import random
from argparse import ArgumentParser, Namespace
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, product

from benchmarks.output import show

STEPS = 390
"""Bilevel steps of an epoch: 25,000 images in batches of 64. SVHN has 36,600, so its epochs take that much longer."""

STEP_SECONDS = {"darts": 0.138, "s": 0.0307, "nasbench201": 0.0265}
"""Of a bilevel step on an H100 with CUDA graphs, measured (RESULTS.md, Speed); `s` are S1 to S4, measured on S2."""

PASS_SHARE = 0.25
"""A scoring pass over the 25,000 images takes so much of an epoch of bilevel steps: one forward beside two forwards and
backwards (on a CPU 0.15 to 0.25, measured)."""

SCORING_PASSES = {"darts": 240, "s": 100, "nasbench201": 30}
"""Of a selection by perturbation: the candidates of all edges, then the inputs of all nodes (DARTS space: 196 + 44)."""

SELECTION_EPOCHS = {"darts": 81, "s": 81, "nasbench201": 25}
SEARCH_EPOCHS = {"darts": 50, "s": 50, "nasbench201": 100}

RETRAINING = {"large": (600, 60.0), "small": (600, 10.0)}
"""Epochs and seconds of each on one GPU, assumed, for want of a measurement: 20 cells of 36 channels, 8 cells of 16."""

SUPERNET_MB = {"darts": 8.0, "s": 2.7, "nasbench201": 6.9}
NETWORK_MB = {"large": 14.0, "small": 1.2}
DATA_SHARE = {"cifar10": 1.0, "cifar100": 1.0, "svhn": 36_628 / 25_000}


@dataclass(frozen=True)
class Part:
    """A stage of a job.

    Attributes:
        name: What determines it; jobs with a part of the same name share it.
        epochs: After each it can be gone on from.
        seconds: Of an epoch, on one GPU.
        megabytes: That it leaves on the disk.
    """

    name: str
    epochs: int
    seconds: float
    megabytes: float

    @property
    def hours(self) -> float:
        """On one GPU, undisturbed."""
        return self.epochs * self.seconds / 3600


@dataclass(frozen=True)
class GridJob:
    """One `python train.py`: its parts in order."""

    name: str
    parts: tuple[Part, ...]


def job(space: str, data: str, method: str, seed: int) -> GridJob:
    """Return the job of one cell of the grid: `darts`, `sdarts_rs`, `sgas` or `fixed_alpha`, with `-pt` or not."""
    search, _, perturbed = method.partition("-")
    size = "s" if space in ("s1", "s2", "s3", "s4") else space
    epoch = STEPS * STEP_SECONDS[size] * DATA_SHARE[data]
    where = f"{space} {data} seed{seed}"
    parts = [Part(f"search {search} {where}", SEARCH_EPOCHS[size], epoch, SUPERNET_MB[size])]
    if perturbed:
        epochs = SELECTION_EPOCHS[size]
        scoring = SCORING_PASSES[size] * PASS_SHARE * epoch / epochs
        parts.append(Part(f"selection {method} {where}", epochs, epoch + scoring, SUPERNET_MB[size]))
    if space != "nasbench201":
        network = "large" if data == "cifar10" else "small"
        epochs, seconds = RETRAINING[network]
        parts.append(Part(f"retraining {method} {where}", epochs, seconds * DATA_SHARE[data], NETWORK_MB[network]))
    return GridJob(f"{space} {data} {method} seed{seed}", tuple(parts))


GRID = (
    # spaces, data sets, methods
    (("s1", "s2", "s3", "s4"), ("cifar10", "cifar100", "svhn"), ("darts", "darts-pt", "fixed_alpha-pt")),
    (
        ("darts",),
        ("cifar10",),
        ("darts", "darts-pt", "sdarts_rs", "sdarts_rs-pt", "sgas", "sgas-pt", "fixed_alpha-pt"),
    ),
    (("nasbench201",), ("cifar10",), ("darts", "darts-pt", "fixed_alpha-pt")),
)
SEEDS = range(4)


def grid() -> Iterator[GridJob]:
    """Yield every job, in the order in which one sweep after the other submits them."""
    for spaces, data_sets, methods in GRID:
        for space, data, method, seed in product(spaces, data_sets, methods, SEEDS):
            yield job(space, data, method, seed)


Event = tuple[float, int, GridJob, float]
"""When a session does something next, in hours; a running number; its job; when it will be preempted."""


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


class Simulation:
    """Runs jobs on GPUs: what a session does next, and until when, is known when it begins to do it.

    Args:
        jobs: In the order in which they are submitted.
        gpus: How many run at a time.
        hours_between_preemptions: Of one GPU, on average (exponentially distributed); None: there are none.
        start: Hours that a session needs before its first epoch: imports, decoding of images, CUDA graphs.
        seed: Of the preemptions.
    """

    def __init__(
        self,
        jobs: Iterable[GridJob],
        gpus: int,
        hours_between_preemptions: float | None,
        start: float = 60 / 3600,
        seed: int = 0,
    ) -> None:
        if gpus < 1:
            raise ValueError(f"--gpus must be at least 1; got {gpus}.")
        if hours_between_preemptions is not None and hours_between_preemptions <= 0:
            raise ValueError(f"--between must be above 0 hours; got {hours_between_preemptions}.")
        self.queue = deque(jobs)
        self.gpus, self.start = gpus, start
        self.between, self.chance = hours_between_preemptions, random.Random(seed)
        self.outcome = Outcome()
        self._epochs: defaultdict[str, int] = defaultdict(int)  # that were made of each part
        self._busy_until: dict[str, float] = {}  # another session is at the part
        self._order = count()

    def run(self) -> Outcome:
        """Run all jobs to their end."""
        events = [self._session(0.0) for _ in range(min(self.gpus, len(self.queue)))]
        while events:
            now, _, job, end = heapq.heappop(events)
            if now < end:
                following = self._go_on(job, now, end)
                self.outcome.elapsed = max(self.outcome.elapsed, now)
            else:
                self.outcome.preemptions += 1
                self.queue.appendleft(job)
                following = None
            if following is None and self.queue:
                following = self._session(now)
            if following is not None:
                heapq.heappush(events, following)
        return self.outcome

    def _session(self, now: float) -> Event:
        """Start the next job, and draw when it will be preempted."""
        self.outcome.starting += self.start
        end = math.inf if self.between is None else now + self.chance.expovariate(1 / self.between)
        return self._event(now + self.start, self.queue.popleft(), end)

    def _event(self, time: float, job: GridJob, end: float) -> Event:
        return min(time, end), next(self._order), job, end

    def _go_on(self, job: GridJob, now: float, end: float) -> Event | None:
        """Work on the first part that is not finished, or wait for who is at it; None: the job is done."""
        for part in job.parts:
            until = self._busy_until.get(part.name, now)
            if until > now:
                self.outcome.waiting += min(until, end) - now
                return self._event(until, job, end)
            if self._epochs[part.name] < part.epochs:
                return self._work(part, job, now, end)
        return None

    def _work(self, part: Part, job: GridJob, now: float, end: float) -> Event:
        """Make the epochs of a part that are left, or as many whole ones as fit before the preemption."""
        hours = part.seconds / 3600
        made = left = part.epochs - self._epochs[part.name]
        if now + left * hours > end:
            made = int((end - now) / hours)
            self.outcome.lost += end - now - made * hours
        self.outcome.work += made * hours
        self._epochs[part.name] += made
        self._busy_until[part.name] = min(now + left * hours, end)
        return self._event(now + left * hours, job, end)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 32], help="how many (%(default)s)")
    parser.add_argument("--between", type=float, default=2.0, help="hours between preemptions of a GPU (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the preemptions")


def run(options: Namespace) -> None:
    """Simulate and print."""
    jobs = list(grid())
    parts = {part.name: part for one in jobs for part in one.parts}
    show(
        f"{len(jobs)} jobs of {len(parts)} different stages, {sum(part.hours for part in parts.values()):.0f} hours of "
        f"one GPU, {sum(part.megabytes for part in parts.values()) / 1000:.1f} GB of results."
    )
    show("| GPUs | preemptions | hours | epochs lost | starts | waiting |\n|---|---|---|---|---|---|")
    for gpus in options.gpus:
        for between in (None, options.between):
            out = Simulation(jobs, gpus, between, seed=options.seed).run()
            shares = [f"{100 * hours / out.work:.2f} %" for hours in (out.lost, out.starting, out.waiting)]
            show(f"| {gpus} | {out.preemptions} | {out.elapsed:.0f} | {' | '.join(shares)} |")
