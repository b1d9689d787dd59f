"""The stages that a composed config describes, and how long they will take.

That is what earlier stages took, or else one timed step of each network. A timed step takes the gradients and makes the
step as the stage will, of a new network on a few images; it changes no result, because every stage seeds what it draws.
Small steps are scaled to a whole batch, so this is a rough figure.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from rich.console import Console

from archselect import kernels
from archselect.data import BilevelBatches, Images
from archselect.evaluation import NASBench201Lookup, Retraining, RetrainModule
from archselect.genotype import Genotype
from archselect.pipeline.config import Components, folder_label, identity_of, to_plain_dict
from archselect.pipeline.evaluation_stage import EvaluationStage
from archselect.pipeline.limits import identity_of_limit, identity_of_price, limited_selection, priced_search
from archselect.pipeline.own_code import own_sources
from archselect.pipeline.search_stage import SearchStage, new_supernet
from archselect.pipeline.selection_stage import SelectionStage
from archselect.pipeline.stage import Stage, StageContext, StageResult, device_name, epochs_made, stage_trainer_for
from archselect.results.formatting import duration
from archselect.safe_io.config import read_config
from archselect.safe_io.files import read_json
from archselect.search import SearchMethod, SearchModule
from archselect.search.data import fixed_batches
from archselect.search_spaces import SearchSpace
from archselect.selection import Selector
from archselect.store.integrity import MARKER
from archselect.store.key import Kind
from archselect.store.redact_paths import redact_all
from archselect.training.devices import parts_of_batch, process_count
from archselect.training.fit import Loaders, StageTrainer
from archselect.training.progress import Progress

METHODS: dict[Kind, tuple[str, ...]] = {
    "search": ("search",),
    "selection": ("search", "selection"),
    "evaluation": ("evaluation",),
}
"""The groups of the config that a stage is named after; search space and data go into each."""


@dataclass(frozen=True)
class Plan:
    """The stages of one run, which `parts`, made from `config`, describe; each takes what the one before it came to."""

    config: DictConfig
    parts: Components
    job: StageContext

    def search(self) -> SearchStage:
        """Return the training of the supernet."""
        identity = {**self._identities["search"], **identity_of_price(self.parts)}
        return SearchStage(self.job, *self.described("search"), identity, self._search)

    def selection(self, search: StageResult, snapshot: int | None = None) -> SelectionStage:
        """Return the selection from the supernet that a search came to, or from one of its snapshots."""
        parts, start = self.parts, search.folder
        identity, more = {"search": start.key.digest, **self._identities["selection"]}, list[str]()
        identity |= identity_of_limit(parts)
        if snapshot is not None:
            identity["snapshot"], more = snapshot, [f"epoch{snapshot}"]
        described = self.described("selection", *more)
        return SelectionStage(self.job, *described, identity, self._search, self._selection, start.path, snapshot)

    def evaluation(self, genotype: Genotype) -> EvaluationStage | None:
        """Return the evaluation of an architecture; None where nothing is evaluated."""
        evaluation = self.parts.evaluation
        if not isinstance(evaluation, Retraining | NASBench201Lookup):
            return None
        identity = {"genotype": str(genotype), **evaluation.identity, **self._identities["evaluation"]}
        identity |= self._own_code(genotype)
        return EvaluationStage(self.job, *self.described("evaluation"), identity, evaluation, genotype)

    def judged(self, genotype: Genotype) -> dict[str, Any]:
        """Return all that the network depends on which the evaluation of an architecture judges, as plain data."""
        parts, data = self.parts, self.parts.data
        images = {"image_size": data.image_size, "outputs": self.job.outputs, "in_channels": data.channels}
        skeleton = self.config.evaluation.get("network")  # as typed: once made, a stem of one's own is no plain data
        sizes = parts.space.supernet_sizes if skeleton is None else to_plain_dict(skeleton)
        space = self._identities["evaluation"]["space"]
        network = {"genotype": str(genotype), "space": space, **sizes, **self._own_code(genotype)}
        return {**network, "evaluation": parts.evaluation.name, **images}

    def known(self) -> dict[Kind, Stage]:
        """Return the stages that can be named before anything runs: each but the first hangs on what came before it."""
        found, genotype = dict[Kind, Stage](), self.parts.genotype
        if genotype is None:
            found["search"] = search = self.search()
            start = self.job.store.folder(search.key)
            if start.state == "finished":
                found["selection"] = selection = self.selection(StageResult(start, {}, True))
                folder = self.job.store.folder(selection.key)
                if folder.state == "finished" and not folder.integrity_error(contents=True):
                    genotype = Genotype.from_text(folder.result()["genotype"])
        if genotype is not None and (evaluation := self.evaluation(genotype)) is not None:
            found["evaluation"] = evaluation
        return found

    def described(self, kind: Kind, *more: str) -> tuple[str, dict[str, Any]]:
        """Return the readable name of a stage, which ends with the seed, and the part of the config that it is of."""
        parts, methods = self.parts, METHODS[kind]
        names = [getattr(parts, group).name for group in methods]
        label = folder_label(parts.space.name, *names, *more, parts.data.label, f"seed{parts.seed}")
        groups = ("search_space", *methods, "data", "task")
        return label, {"seed": parts.seed, **{group: to_plain_dict(self.config[group]) for group in groups}}

    def _own_code(self, genotype: Genotype) -> dict[str, Any]:
        """Return what an evaluation knows of a user's own code, if there is some: operations, and files by target."""
        operations = own_operations(self.parts.space, genotype)
        sources = {**self._identities["evaluation"].get("sources", {}), **own_sources(operations).get("sources", {})}
        return {name: found for name, found in (("operations", operations), ("sources", sources)) if found}

    @cached_property
    def _search(self) -> SearchMethod:
        return priced_search(self.parts)

    @cached_property
    def _selection(self) -> Selector:
        return limited_selection(self.parts)

    @cached_property
    def _identities(self) -> Mapping[str, dict[str, Any]]:
        return identity_of(self.config, self.parts.data.fingerprint(), parts_of_batch(self.parts.trainer))


def own_operations(space: SearchSpace, genotype: Genotype) -> dict[str, Any]:
    """Return the definitions of the operations of a user's own that an architecture has, by name."""
    names = sorted({operation for cell in genotype for _, _, operation in cell.edges})
    definitions = {name: space.primitives[name].definition for name in names if name in space.primitives}
    return {name: dict(definition) for name, definition in definitions.items() if definition is not None}


WORTH_TIMING = 20_000
"""Images trained on, in all: fewer take minutes at most, and every stage shows the time left."""

SECONDS = 1.0  # of the timed step, about
FEWEST = 4  # images of the first step
SCORED = 1 / 6  # what it costs to score an image, against a bilevel step's two forward and backward passes per image


def how_long(plan: Plan) -> str | None:
    """Return what is said of the time that a plan takes; None: little, or nothing is known."""
    lengths = image_counts(plan)
    if not is_long(lengths):
        return None
    device = device_name(_trainer_for_timing(plan).device)
    left = _shares_left(plan, plan.known())
    whole = {kind: _earlier(plan, kind, device) for kind in lengths}
    earlier = {kind: None if time is None else time * left.get(kind, 1.0) for kind, time in whole.items()}
    if None in earlier.values() and process_count(plan.parts.trainer) > 1:
        return None
    pace = cache(partial(_seconds_per_image, plan))
    try:
        seconds = {kind: earlier[kind] or n * pace(kind == "evaluation") for kind, n in lengths.items() if n}
    except torch.OutOfMemoryError:
        return None  # the stage will meet it too, and say what lowers the memory
    stages = ", ".join(f"{kind} {duration(amount)}" for kind, amount in seconds.items())
    basis = "one timed step of each network" if None in earlier.values() else "what other seeds took"
    return f"This takes about {duration(sum(seconds.values()))} on {device} ({stages}), to judge by {basis}."


def is_long(counts: Mapping[Kind, float]) -> bool:
    """Return whether it is worth while to tell beforehand what stages take that train on so many images."""
    return sum(counts.values()) >= WORTH_TIMING


def image_counts(plan: Plan) -> dict[Kind, float]:
    """Return how many images each stage that is not there yet trains on, those of all epochs.

    Those that a selection scores are counted with them, as far as that can be foreseen.
    """
    parts, counts = plan.parts, dict[Kind, float]()
    images, search, scoring = len(parts.data.train.labels), parts.search, parts.selection.scoring
    stages = plan.known()
    there = {kind for kind, stage in stages.items() if plan.job.store.folder(stage.key).state == "finished"}
    if parts.genotype is None:
        weights, cost = search.weight_share * images, parts.selection.cost(parts.space.cells)
        counts["search"] = search.epochs * weights
        scored = (1 - search.weight_share) * images
        if scoring is not None and scoring.batches is not None:
            scored = min(scored, scoring.batches * (scoring.batch_size or search.batch_size))
        counts["selection"] = cost.epochs * weights + cost.candidates * SCORED * scored
    if trained := parts.evaluation.trained_images(images):
        counts["evaluation"] = trained
    left = _shares_left(plan, stages)
    return {kind: count * left.get(kind, 1.0) for kind, count in counts.items() if kind not in there}


def _shares_left(plan: Plan, stages: Mapping[Kind, Stage]) -> dict[Kind, float]:
    """Return which share of the epochs of each stage is not made yet."""
    parts = plan.parts
    epochs: dict[Kind, int] = {"search": parts.search.epochs, "evaluation": parts.evaluation.epochs}
    if parts.genotype is None:
        epochs["selection"] = parts.selection.cost(parts.space.cells).epochs
    made = {kind: epochs_made(plan.job.store.folder(stage.key)) for kind, stage in stages.items()}
    return {kind: 1 - min(1.0, done / max(1, epochs[kind])) for kind, done in made.items()}


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


def _trainer_for_timing(plan: Plan) -> StageTrainer:
    """Return what fits as the search will; its folder is not touched."""
    folder = plan.job.store.folder(plan.search().key)
    return stage_trainer_for(folder, plan.job, Progress(Console(quiet=True), "timing"))


def _seconds_per_image(plan: Plan, of_retraining: bool) -> float:
    """Return the seconds per image of a step of a network: of more and more images until it takes about `SECONDS`."""
    parts, job = plan.parts, plan.job
    images, protocol = job.data.train, parts.evaluation if of_retraining else parts.search
    assert isinstance(protocol, Retraining | SearchMethod)
    most, size = min(protocol.batch_size, len(images.labels)), FEWEST
    stage_trainer = _trainer_for_timing(plan)
    with kernels.enabled(), torch.random.fork_rng():
        module = _module_to_time(plan, protocol)
        while True:
            size, clock = min(size, most), _Clock()
            few = images.select(torch.arange(2 * size) % len(images.labels))  # two steps: the first is slower

            def loaders(device: torch.device, few: Images = few, size: int = size) -> Loaders:
                batches = [fixed_batches(job.data, few, size, device, job.seed) for _ in range(2)]
                return Loaders(batches[0] if of_retraining else BilevelBatches(*batches), None, size)

            stage_trainer.train(module, loaders, 1, [clock])
            if size == most or clock.seconds > SECONDS / 2:
                return clock.seconds / size
            size = round(size * SECONDS / clock.seconds)


def _module_to_time(plan: Plan, protocol: Retraining | SearchMethod) -> pl.LightningModule:
    parts, job = plan.parts, plan.job
    task = job.fitted_task, job.outputs
    if isinstance(protocol, SearchMethod):
        return SearchModule(new_supernet(job, protocol), protocol, *task, (job.seed, "timing"))
    network = protocol.judged_network(parts.space, parts.genotype or parts.space.example(), job.data, job.outputs)
    return RetrainModule(network, protocol, *task, job.seed)


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
