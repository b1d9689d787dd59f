"""The LightningModule that trains a discrete network from scratch."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from archselect.evaluation.method import Retraining
from archselect.networks.discrete import DiscreteNetwork
from archselect.randomness import derived_seed

Batch = tuple[Tensor, Tensor]


class RetrainModule(pl.LightningModule):
    """Supervised training of a discrete network under a protocol.

    Args:
        network: Trained in place.
        protocol: Optimizer, schedule and regularisation.
        classes: Number of classes.
        seed: What drop path is derived from, together with the epoch.
    """

    def __init__(self, network: DiscreteNetwork, protocol: Retraining, classes: int, seed: int) -> None:
        super().__init__()
        self.network = network
        self.protocol = protocol
        self.seed = seed
        metrics = MetricCollection(
            {
                # Takes one value per image: without its check for NaN, which halts the host, the metric ignores its
                # weights.
                "loss": MeanMetric(nan_strategy="disable"),
                "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False),
            }
        )
        self.train_metrics = metrics.clone(prefix="train_")
        self.val_metrics = metrics.clone(prefix="val_")
        self.test_metrics = metrics.clone(prefix="test_")

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule."""
        optimizer = self.protocol.optimizer(self.network.parameters())
        schedule = self.protocol.schedule(optimizer)
        return {"optimizer": optimizer, **({"lr_scheduler": schedule} if schedule else {})}

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm as the protocol says."""
        if self.protocol.gradient_clip is not None:
            self.clip_gradients(optimizer, self.protocol.gradient_clip, "norm")

    def on_train_epoch_start(self) -> None:
        """Seed the network's randomness, let drop path grow (DARTS, sec. 3.2) and report the epoch's learning rate."""
        torch.manual_seed(derived_seed(self.seed, "evaluation", "network", self.current_epoch))
        self.trainer.train_dataloader.set_epoch(self.current_epoch)  # type: ignore[union-attr]
        self.network.drop_path_probability = self.protocol.drop_path * self.current_epoch / self.protocol.epochs
        optimizer: Any = self.optimizers()
        self.log("learning_rate", optimizer.param_groups[0]["lr"])  # at the epoch's end it is the next one's already

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss, with the auxiliary head's."""
        images, labels = batch
        logits, auxiliary = self.network.forward_with_auxiliary(images)
        smoothing = self.protocol.label_smoothing
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if auxiliary is not None:
            loss = loss + self.protocol.auxiliary_weight * F.cross_entropy(auxiliary, labels, label_smoothing=smoothing)
        self.train_metrics["loss"].update(loss.detach().expand(len(labels)))
        self.train_metrics["accuracy"].update(logits.detach(), labels)
        return loss

    def on_train_epoch_end(self) -> None:
        """Report the epoch's means."""
        self.log_dict(self.train_metrics.compute())
        self.train_metrics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the network on held-out images."""
        self._score(batch, self.val_metrics)

    def on_test_epoch_start(self) -> None:
        """Seed the network's randomness (noise), so that a test does not depend on what the process did before."""
        torch.manual_seed(derived_seed(self.seed, "evaluation", "test"))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the network on the test images."""
        self._score(batch, self.test_metrics)

    def on_validation_epoch_end(self) -> None:
        """Report the means over the held-out images."""
        self._report(self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Report the means over the test images."""
        self._report(self.test_metrics)

    def _score(self, batch: Batch, metrics: MetricCollection) -> None:
        images, labels = batch
        logits = self.network(images)
        metrics[f"{metrics.prefix}loss"].update(F.cross_entropy(logits, labels, reduction="none"))
        metrics[f"{metrics.prefix}accuracy"].update(logits, labels)

    def _report(self, metrics: MetricCollection) -> None:
        self.log_dict(metrics.compute())
        metrics.reset()
