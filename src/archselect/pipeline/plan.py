"""The stages that a composed config describes, and how long they will take.

That is what earlier stages took, or else one timed step of each network. A timed step takes the gradients and makes the
step as the stage will, of a new network on a few images; it changes no result, because every stage seeds what it draws.
Small steps are scaled to a whole batch, so this is a rough figure.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from rich.console import Console

from archselect import kernels
from archselect.data import BilevelBatches, ImageTensors
from archselect.evaluation import NASBench201Lookup, Retraining, RetrainModule
from archselect.genotype import Genotype
from archselect.pipeline.config import Components, folder_label, identity_of, to_plain_dict
from archselect.pipeline.evaluation_stage import EvaluationStage
from archselect.pipeline.search_stage import SearchStage, new_supernet
from archselect.pipeline.selection_stage import SelectionStage
from archselect.pipeline.stage import StageContext, StageResult, device_name, stage_trainer_for
from archselect.results.formatting import duration
from archselect.safe_io.config import read_config
from archselect.safe_io.files import read_json
from archselect.search import SearchModule
from archselect.search.data import fixed_batches
from archselect.store.integrity import MARKER
from archselect.store.key import Kind
from archselect.store.redact_paths import redact_all
from archselect.training.devices import parts_of_batch, process_count
from archselect.training.fit import Loaders, StageTrainer
from archselect.training.progress import Progress

GROUPS: dict[Kind, tuple[str, ...]] = {
    "search": ("search_space", "search", "data"),
    "selection": ("search_space", "search", "selection", "data"),
    "evaluation": ("search_space", "evaluation", "data"),
}
"""The groups of the config that a stage is made of."""


@dataclass(frozen=True)
class Plan:
    """The stages of one run; each takes what the one before it came to.

    Attributes:
        config: As composed, with all groups.
        parts: What `config` describes.
        job: What all stages share.
    """

    config: DictConfig
    parts: Components
    job: StageContext

    def search(self) -> SearchStage:
        """Return the training of the supernet."""
        label, config = self.described("search")
        return SearchStage(self.job, self.parts.search, self._identities["search"], config, label)

    def selection(self, search: StageResult, snapshot: int | None = None) -> SelectionStage:
        """Return the selection from the supernet that a search came to, or from one of its snapshots."""
        parts = self.parts
        label, config = self.described("selection", *([f"epoch{snapshot}"] if snapshot else []))
        identity = self._identities["selection"]
        return SelectionStage(self.job, search, parts.search, parts.selection, identity, config, label, snapshot)

    def evaluation(self, genotype: Genotype) -> EvaluationStage | None:
        """Return the evaluation of an architecture; None where nothing is evaluated."""
        evaluation = self.parts.evaluation
        if not isinstance(evaluation, Retraining | NASBench201Lookup):
            return None
        label, config = self.described("evaluation")
        return EvaluationStage(self.job, genotype, evaluation, self._identities["evaluation"], config, label)

    def described(self, kind: Kind, *more: str) -> tuple[str, dict[str, Any]]:
        """Return the readable name of a stage, which ends with the seed, and the part of the config that it is of."""
        parts, groups = self.parts, GROUPS[kind]
        methods = [getattr(parts, group).name for group in groups if group not in ("search_space", "data")]
        label = folder_label(parts.space.name, *methods, *more, parts.data.label, f"seed{parts.seed}")
        return label, {"seed": parts.seed, **{group: to_plain_dict(self.config[group]) for group in groups}}

    @cached_property
    def _identities(self) -> Any:
        return identity_of(self.config, self.parts.data.fingerprint(), parts_of_batch(self.parts.trainer))


WORTH_TIMING = 20_000
"""Images trained on, in all: fewer take minutes at most, and every stage shows the time left."""

SECONDS = 1.0  # of the timed step, about
FEWEST = 4  # images of the first step
SCORED = 1 / 6  # what it costs to score an image, against a bilevel step's two forward and backward passes per image


def how_long(plan: Plan) -> str | None:
    """Return what is said of the time that a plan takes; None: little, or nothing is known."""
    lengths = _lengths(plan)
    if sum(lengths.values()) < WORTH_TIMING:
        return None
    device = device_name(fitting_for_timing(plan).device)
    earlier = {kind: _earlier(plan, kind, device) for kind in lengths}
    if None in earlier.values() and process_count(plan.parts.trainer) > 1:
        return None
    pace = _Pace(plan)
    try:
        seconds = {kind: earlier[kind] or length * pace.of(kind) for kind, length in lengths.items() if length}
    except torch.OutOfMemoryError:
        return None  # the stage will meet it too, and say what lowers the memory
    stages = ", ".join(f"{kind} {duration(amount)}" for kind, amount in seconds.items())
    basis = "one timed step of each network" if None in earlier.values() else "what other seeds took"
    return f"This takes about {duration(sum(seconds.values()))} on {device} ({stages}), to judge by {basis}."


def _lengths(plan: Plan) -> dict[Kind, float]:
    """Return how many images each stage that is not there yet trains on, those of all epochs."""
    parts, lengths = plan.parts, dict[Kind, float]()
    images, search = len(parts.data.train.labels), parts.search
    if parts.genotype is None:
        if plan.job.store.folder(plan.search().key).state != "finished":
            lengths["search"] = search.epochs * search.weight_share * images
        lengths["selection"] = _selection_images(plan)
    if trained := parts.evaluation.trained_images(images):
        lengths["evaluation"] = trained
    return lengths


def _selection_images(plan: Plan) -> float:
    """Return how many images a selection trains on, with those that it scores, as far as that can be foreseen."""
    selection, cells, share = plan.parts.selection, plan.parts.space.cells, plan.parts.search.weight_share
    images, scoring, cost = len(plan.parts.data.train.labels), selection.scoring, selection.cost(cells)
    scored = (1 - share) * images
    if scoring is not None and scoring.batches is not None:
        scored = min(scored, scoring.batches * (scoring.batch_size or plan.parts.search.batch_size))
    return cost.epochs * share * images + cost.candidates * SCORED * scored


def _earlier(plan: Plan, kind: Kind, device: str) -> float | None:
    """Return the median time of finished stages of the same config with other seeds on such a device, if any."""
    label, config = plan.described(kind)
    wanted = {**redact_all(config), "seed": None}
    seconds = []
    for path in (plan.job.store.root / "stages" / kind).glob(f"{label.removesuffix(str(plan.parts.seed))}*"):
        if (path / MARKER).is_file() and {**read_config(path / "config.yaml", path), "seed": None} == wanted:
            sessions = read_json(path / "provenance.json", path)
            if sessions[-1].get("device") == device:
                seconds.append(sum(session.get("seconds", 0.0) for session in sessions))
    return median(seconds) if seconds else None


def fitting_for_timing(plan: Plan) -> StageTrainer:
    """Return what fits as the search will; its folder is not touched."""
    folder = plan.job.store.folder(plan.search().key)
    return stage_trainer_for(folder, plan.job, Progress(Console(quiet=True), "timing"))


class _Pace:
    """Seconds per image, each network timed when it is first asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def of(self, kind: str) -> float:
        return self._retraining if kind == "evaluation" else self._search

    @cached_property
    def _search(self) -> float:
        job, method = self._plan.job, self._plan.parts.search
        return self._timed(
            lambda: SearchModule(new_supernet(job, method), method, job.data.classes, (job.seed, "timing")),
            lambda few, size, device: BilevelBatches(
                *(fixed_batches(job.data, few, size, device, job.seed) for _ in range(2))
            ),
            method.batch_size,
        )

    @cached_property
    def _retraining(self) -> float:
        parts, data, seed = self._plan.parts, self._plan.parts.data, self._plan.job.seed
        retraining, genotype = parts.evaluation, parts.genotype or parts.space.example()
        assert isinstance(retraining, Retraining)
        return self._timed(
            lambda: RetrainModule(retraining.new_network(parts.space, genotype, data), retraining, data.classes, seed),
            lambda few, size, device: fixed_batches(data, few, size, device, seed),
            retraining.batch_size,
        )

    def _timed(self, make: Callable[[], pl.LightningModule], batches: Callable[..., Any], most: int) -> float:
        """Return the seconds per image of a step: of more and more images until it takes about `SECONDS`."""
        stage_trainer, images, size = fitting_for_timing(self._plan), self._plan.parts.data.train, FEWEST
        most = min(most, len(images.labels))
        with kernels.enabled(), torch.random.fork_rng():
            module = make()
            while True:
                size, clock = min(size, most), _Clock()
                few = images.select(torch.arange(2 * size) % len(images.labels))  # two steps: the first is slower

                def loaders(device: torch.device, few: ImageTensors = few, size: int = size) -> Loaders:
                    return Loaders(batches(few, size, device), None, size)

                stage_trainer.train(module, loaders, 1, [clock])
                if size == most or clock.seconds > SECONDS / 2:
                    return clock.seconds / size
                size = round(size * SECONDS / clock.seconds)


class _Clock(Callback):
    """Times a step."""

    seconds = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._started = _now(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.seconds = _now(pl_module.device) - self._started


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
