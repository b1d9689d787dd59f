"""The evaluation stage: the architecture is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from archselect.data import batches_of, stratified_split
from archselect.distributed.rng import derived_seed, generator_for, seed_generators
from archselect.evaluation import NASBench201Lookup, Retraining, RetrainModule
from archselect.genotype import Genotype
from archselect.models.discrete.network import DiscreteNetwork
from archselect.pipeline.search_stage import describe_data, reported
from archselect.pipeline.stage import RunStage, StageContext
from archselect.search.data import fixed_batches
from archselect.training.checkpoint import save
from archselect.training.fit import Loaders, StageTrainer

NETWORK = "network.pt"


@dataclass(frozen=True)
class EvaluationStage(RunStage):
    """Judges one genotype. Two selections that found the same one share it."""

    kind = "evaluation"

    evaluation: Retraining | NASBench201Lookup
    genotype: Genotype

    def run(self, stage_trainer: StageTrainer) -> Mapping[str, Any]:
        """Judge the architecture."""
        stage_trainer.folder.write_text("genotype.json", self.genotype.to_json())
        evaluation, space, job = self.evaluation, self.job.space, self.job
        if isinstance(evaluation, NASBench201Lookup):
            return evaluation.look_up(space, self.genotype)
        judged = partial(evaluation.judged_network, space, self.genotype, job.data, job.outputs)
        return retrain(judged, evaluation, job, stage_trainer)


def retrain(
    make: Callable[[], DiscreteNetwork], protocol: Retraining, job: StageContext, stage_trainer: StageTrainer
) -> Mapping[str, Any]:
    """Train a network from scratch on the run's images, test it once, keep it, and return the metrics.

    `make` is called with torch's generator seeded.
    """
    data, learnt = job.data, job.task.learnt(job.fitted_task)
    with torch.random.fork_rng(devices=[]):
        seed_generators(derived_seed(job.seed, "evaluation", "initialisation"))
        network = make()
    test = data.test  # decoded now, if it fits into memory: a damaged image must not be met after the training
    module = RetrainModule(network, protocol, job.fitted_task, job.outputs, job.seed)
    loaders, epochs = (lambda device: retraining_loaders(job, protocol, device)), protocol.epochs
    history = stage_trainer.fit(module, loaders, epochs, describe=lambda: dict(module.per_class))
    metrics = stage_trainer.test(module, lambda device: fixed_batches(data, test, 512, device, job.seed))
    save(network.cpu().state_dict(), stage_trainer.folder.path / NETWORK)
    return {
        "params": network.parameter_count(),
        "epochs": len(history),
        **reported(history[-1]),
        **metrics,
        **{name: values for name, values in module.per_class.items() if name.startswith("test_")},
        **job.fitted_task.describe(data, test.labels, "test"),
        "image_size": data.image_size,
        "channels": data.channels,
        "outputs": job.outputs,
        **({"fitted": learnt} if learnt else {}),
        **describe_data(job),
    }


def retraining_loaders(job: StageContext, protocol: Retraining, device: torch.device) -> Loaders:
    """Return the augmented training batches and, where a share is held out, those that are validated on."""
    data, size = job.data, protocol.batch_size
    train, val = data.train, None
    if protocol.validation_share:
        generator = generator_for(job.seed, "evaluation", "split")
        held_out, rest = stratified_split(data.train.labels, protocol.validation_share, generator)
        train, validation = data.train.select(rest), data.train.select(held_out)
        val = fixed_batches(data, validation, size, device, job.seed)
    rng_key, augmentation = (job.seed, "evaluation", "train"), data.augmentation(protocol.cutout)
    batches = batches_of(train, size, device, data.normalisation, rng_key, augmentation, shuffle=True)
    return Loaders(batches, val, len(train))
