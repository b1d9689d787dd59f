"""Training a discrete network from scratch, and testing it once."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from archselect.data import Batch
from archselect.distributed.process_group import all_reduce
from archselect.distributed.rng import derived_seed, seed_generators
from archselect.evaluation.retraining import Retraining
from archselect.models.discrete.network import DiscreteNetwork
from archselect.tasks import Task
from archselect.training.cuda_graphs import Capture, capture_for
from archselect.training.metrics import EpochMetrics
from archselect.training.step import gradients_of, mean_loss, optimizer_step


class RetrainModule(pl.LightningModule):
    """Supervised training of a discrete network under a protocol (DARTS, sec. 3.2).

    `per_class` has what the task measures of each class in the last validation and test, such as
    `val_accuracy_per_class` and `test_accuracy_per_class`: None for a class without images. Drop path is derived from
    the seed and the epoch.
    """

    def __init__(self, network: DiscreteNetwork, protocol: Retraining, task: Task, outputs: int, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False  # a captured step returns gradients
        self.network = network
        self.protocol = protocol
        self.task, self._trained_task = task, task.smoothed(protocol.label_smoothing)
        self.seed = seed
        self.capture: Capture = Capture()
        self.train_metrics = EpochMetrics("train", task, outputs, scored=False)
        self.val_metrics = EpochMetrics("val", task, outputs)
        self.test_metrics = EpochMetrics("test", task, outputs)
        self.per_class: dict[str, list[float | None]] = {}

    def configure_optimizers(self) -> Any:
        optimizer = self.protocol.optimizer(self.network.parameters())
        schedule = self.protocol.schedule(optimizer)
        return {"optimizer": optimizer, **({"lr_scheduler": schedule} if schedule else {})}

    def on_train_start(self) -> None:
        self.capture = capture_for(self.protocol.capture, self.device, self.network)

    def on_train_end(self) -> None:
        self.capture.forget()

    def on_train_epoch_start(self) -> None:
        """Seed the network's randomness, let drop path grow (DARTS, sec. 3.2) and log the epoch's learning rate."""
        seed_generators(derived_seed(self.seed, "evaluation", "network", self.current_epoch))
        self.trainer.train_dataloader.set_epoch(self.current_epoch)  # type: ignore[union-attr]
        probability = self.protocol.drop_path * self.current_epoch / self.protocol.epochs
        if probability != self.network.drop_path_probability:
            self.network.drop_path_probability = probability
            self.capture.forget()  # it holds the probability of before
        optimizer: Any = self.optimizers()
        self.log("learning_rate", optimizer.param_groups[0]["lr"])

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Make one step on the loss, with the auxiliary head's."""
        loss, outputs, gradients = self.capture("train", self._gradients, batch)
        optimizer_step(self.optimizers(), list(self.network.parameters()), gradients, self.protocol.gradient_clip)
        labels = batch[1]
        self.train_metrics.update(loss.expand(len(labels)), outputs, labels)

    def _gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
        """Return the loss, the outputs `(B, outputs)` and the gradient in every parameter."""
        outputs, auxiliary = self.network.forward_with_auxiliary(images)
        loss = mean_loss(self._trained_task, outputs, labels)
        if auxiliary is not None:
            loss = loss + self.protocol.auxiliary_weight * mean_loss(self._trained_task, auxiliary, labels)
        # A cell that nothing reads has no gradient.
        gradients = gradients_of(loss, list(self.network.parameters()), allow_unused=True)
        return all_reduce(loss.detach()), outputs.detach(), gradients

    def on_train_epoch_end(self) -> None:
        self.train_metrics.log(self)
        schedule: Any = self.lr_schedulers()
        if schedule is not None:
            schedule.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        self.per_class |= self.val_metrics.log(self)

    def on_test_epoch_start(self) -> None:
        """Seed the network's randomness (noise), so that a test does not depend on what the process did before."""
        seed_generators(derived_seed(self.seed, "evaluation", "test"))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        self.per_class |= self.test_metrics.log(self)

    def _score(self, batch: Batch, metrics: EpochMetrics) -> None:
        images, labels = batch
        outputs = self.network(images)
        metrics.update(self.task.losses(outputs, labels), outputs, labels)
