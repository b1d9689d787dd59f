"""The paper's whole grid as jobs: what each computes, how long that takes on one GPU, and what it writes.

DARTS-PT with four seeds each: S1 to S4 on three data sets with three methods; the DARTS space on CIFAR-10 with seven
methods; NAS-Bench-201 with three methods, looked up in its table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

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


METHODS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # spaces, data sets, methods
    "s1 to s4": (
        ("s1", "s2", "s3", "s4"),
        ("cifar10", "cifar100", "svhn"),
        ("darts", "darts-pt", "fixed_alpha-pt"),
    ),
    "darts": (
        ("darts",),
        ("cifar10",),
        ("darts", "darts-pt", "sdarts_rs", "sdarts_rs-pt", "sgas", "sgas-pt", "fixed_alpha-pt"),
    ),
    "nasbench201": (("nasbench201",), ("cifar10",), ("darts", "darts-pt", "fixed_alpha-pt")),
}
SEEDS = range(4)


def grid() -> Iterator[GridJob]:
    """Yield every job, in the order in which one sweep after the other submits them."""
    for spaces, data_sets, methods in METHODS.values():
        for space, data, method, seed in product(spaces, data_sets, methods, SEEDS):
            yield job(space, data, method, seed)
