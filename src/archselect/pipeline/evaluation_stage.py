"""The evaluation stage: the architecture is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from archselect.data import DeviceLoader, stratified_split
from archselect.distributed.rng import derived_seed, generator_for, seed_generators
from archselect.evaluation import NASBench201Lookup, Retraining, RetrainModule
from archselect.genotype import Genotype
from archselect.models.discrete.network import DiscreteNetwork
from archselect.pipeline.search_stage import REPORTED as REPORTED_BY_SEARCH
from archselect.pipeline.search_stage import describe_data
from archselect.pipeline.stage import StageContext
from archselect.search.data import fixed_batches
from archselect.store import StageKey
from archselect.training.checkpoint import save
from archselect.training.fit import Loaders, StageTrainer

VERSION = 1
"""Raised when a change of the code changes the stage's results."""

NETWORK = "network.pt"

REPORTED = (*REPORTED_BY_SEARCH, "val_accuracy_per_class")
"""What a retraining says of its last epoch, besides the test; without held-out images it lacks the validation."""


@dataclass(frozen=True)
class EvaluationStage:
    """Judges one genotype. Two selections that found the same one share it.

    Attributes:
        job: What all stages share.
        genotype: The architecture.
        evaluation: How it is judged.
        identity: The parts of the config that determine the result.
        config: The resolved config of the stage.
        label: Readable name.
    """

    job: StageContext
    genotype: Genotype
    evaluation: Retraining | NASBench201Lookup
    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    label: str

    @property
    def key(self) -> StageKey:
        identity = {"version": VERSION, "genotype": str(self.genotype), **self.identity}
        if isinstance(self.evaluation, NASBench201Lookup):
            identity["table"] = self.evaluation.digest
        return StageKey("evaluation", self.label, identity)

    def run(self, stage_trainer: StageTrainer) -> Mapping[str, Any]:
        """Judge the architecture."""
        stage_trainer.folder.write_text("genotype.json", self.genotype.to_json())
        evaluation, space, data = self.evaluation, self.job.space, self.job.data
        if isinstance(evaluation, NASBench201Lookup):
            return evaluation.look_up(space, self.genotype)
        return retrain(lambda: evaluation.new_network(space, self.genotype, data), evaluation, self.job, stage_trainer)


def retrain(
    make: Callable[[], DiscreteNetwork], protocol: Retraining, job: StageContext, stage_trainer: StageTrainer
) -> Mapping[str, Any]:
    """Train a network from scratch on the run's images, test it once, keep it, and return the metrics.

    Args:
        make: Makes the network; called with torch's generator seeded.
        protocol: How it is trained.
        job: What all stages of the run share.
        stage_trainer: Of the stage.
    """
    with torch.random.fork_rng(devices=[]):
        seed_generators(derived_seed(job.seed, "evaluation", "initialisation"))
        network = make()
    _ = job.data.test  # decoded now: a damaged image must not be met after the training
    module = RetrainModule(network, protocol, job.data.classes, job.seed)
    history = stage_trainer.fit(
        module, lambda device: _loaders(job, protocol, device), protocol.epochs, describe=lambda: dict(module.per_class)
    )
    metrics = stage_trainer.test(module, lambda device: _test_batches(job, device))
    save(network.cpu().state_dict(), stage_trainer.folder.path / NETWORK)
    last = {**history[-1]["metrics"], **history[-1]}
    data = job.data
    return {
        "params": network.parameter_count(),
        "epochs": len(history),
        **{name: last[name] for name in REPORTED if name in last},
        **metrics,
        "test_accuracy_per_class": module.per_class["test_accuracy_per_class"],
        "test_images_per_class": data.count_classes(data.test.labels),
        **describe_data(data),
    }


def _loaders(job: StageContext, protocol: Retraining, device: torch.device) -> Loaders:
    data = job.data
    train, val = data.train, None
    if protocol.validation_share:
        generator = generator_for(job.seed, "evaluation", "split")
        held_out, rest = stratified_split(data.train.labels, protocol.validation_share, generator)
        train, validation = data.train.select(rest), data.train.select(held_out)
        val = fixed_batches(data, validation, protocol.batch_size, device, job.seed)
    batches = DeviceLoader(
        train.images,
        train.labels,
        protocol.batch_size,
        device,
        data.normalisation,
        (job.seed, "evaluation", "train"),
        data.augmentation(protocol.cutout),
        shuffle=True,
    )
    return Loaders(batches, val, len(train.labels))


def _test_batches(job: StageContext, device: torch.device) -> DeviceLoader:
    return fixed_batches(job.data, job.data.test, 512, device, job.seed)
