"""The LightningModule that trains a supernet, in the search and while a selection tunes it."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from archselect.distributed.process_group import on_main_process, whole_batches
from archselect.distributed.rng import derived_seed, generator_for, seed_generators
from archselect.models.restored_state import frozen_bn_stats
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.search.alpha_gradient import Batch, BilevelStep
from archselect.search.early_stopping import StoppingRule
from archselect.search.method import SearchMethod
from archselect.search.sgas import Mixtures
from archselect.training.cuda_graphs import Capture, NoCapture, capture_for
from archselect.training.step import (
    ClassAccuracy,
    OptimizerState,
    balanced,
    cross_entropy,
    gradients_of,
    listed,
    load_optimizer_state,
    mean,
    optimizer_step,
)


class SearchModule(pl.LightningModule):
    """Bilevel optimisation: per step one update of `alpha` on a batch of its half, then one of the weights on theirs.

    Args:
        supernet: Trained in place.
        method: The parts that the training is composed of.
        classes: Number of classes.
        purpose: What the randomness inside the network and of the parts is derived from, together with the epoch.
        architecture_state: What the optimizer of `alpha` goes on from, see `architecture_state()`; None: afresh.

    Attributes:
        per_class: The accuracy of each class in the last validation, under `val_accuracy_per_class`; None for a class
            without images.
        kept_epochs: Once a rule has ended the search: after how many epochs the supernet is to be taken.
    """

    def __init__(
        self,
        supernet: Supernet,
        method: SearchMethod,
        classes: int,
        rng_key: tuple[int | str, ...],
        architecture_state: OptimizerState | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.supernet = supernet
        self.supernet.recompute = method.recompute
        self.method = method
        self.rng_key = rng_key
        self.capture: Capture = NoCapture()
        self.kept_epochs: int | None = None
        self._captured_under = dict(supernet.decisions)
        self._weight_optimizer: Optimizer | None = None
        self._architecture_optimizer: Optimizer | None = None
        self._architecture_state = architecture_state
        self._smoothing = method.smoothing_at(method.progress(0))
        self._drop_path = 0.0
        self._freezing = method.freezing and method.freezing.start(supernet)
        self._past: list[Mixtures] = []
        self._curves: dict[str, list[float]] = {name: [] for name in method.stopping}
        metrics = MetricCollection(
            {
                # Takes one value per image: without its check for NaN, which halts the host, it ignores weights.
                "loss": MeanMetric(nan_strategy="disable"),
                "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False),
            }
        )
        self.train_metrics = metrics.clone(prefix="train_")
        self.val_metrics = metrics.clone(prefix="val_")
        self.class_accuracy = ClassAccuracy(classes)
        self.per_class: dict[str, list[float | None]] = {}

    def configure_optimizers(self) -> Any:
        """Return the optimizer of the weights with its schedule, then that of `alpha` if it trains."""
        weights = self.method.weight_optimizer(self.supernet.weight_parameters())
        self._weight_optimizer = weights
        schedule = self.method.schedule(weights)
        optimizers: list[Any] = [{"optimizer": weights, **({"lr_scheduler": schedule} if schedule else {})}]
        if self.method.architecture_gradient is not None:
            alpha = self.method.architecture_optimizer(self.supernet.architecture_parameters())
            if self._architecture_state is not None:
                load_optimizer_state(alpha, self._architecture_state)
            self._architecture_optimizer = alpha
            optimizers.append({"optimizer": alpha})
        return optimizers

    def architecture_state(self) -> OptimizerState | None:
        """Return what the optimizer of `alpha` remembers, as plain data; None where `alpha` does not train."""
        if self._architecture_optimizer is None:
            return None
        state: OptimizerState = self._architecture_optimizer.state_dict()["state"]
        return state

    def on_train_start(self) -> None:
        """Make what captures the steps, now that the device is known; a search that had ended stays so."""
        self.capture = capture_for(self.method.capture, self.device, self.supernet)
        if self.kept_epochs is not None:
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        """Free what was captured."""
        self.capture.forget()

    def on_train_epoch_start(self) -> None:
        """Tell the batches the epoch, which Lightning does for samplers only, seed the noise, set what changes."""
        batches: Any = self.trainer.train_dataloader
        batches.set_epoch(self.current_epoch)
        seed_generators(derived_seed(*self.rng_key, "network", self.current_epoch))
        self.set_progress(self.method.progress(self.current_epoch))

    def set_progress(self, progress: float) -> None:
        """Set what changes in the course of the search; 0 is its first epoch, 1 its last."""
        method = self.method
        self.supernet.relaxation = method.relaxation.at(progress)
        self.supernet.auxiliary_weight = 1 - progress if method.auxiliary_skip else 0.0
        self._smoothing = method.smoothing_at(progress)
        self._drop_path = method.drop_path * progress
        if method.varies:
            self.capture.forget()

    def training_step(self, batch: tuple[Batch, Batch], batch_idx: int) -> None:
        """Make one bilevel step."""
        self._forget_if_decided()
        updates = [self._update_alpha, self._update_weights]
        for update in updates if self.method.update_order == "alpha_first" else reversed(updates):
            update(*batch)

    def _update_alpha(self, weight_batch: Batch, architecture_batch: Batch) -> None:
        if self.method.trains_alpha(self.current_epoch) and self._undecided:
            gradients = self._alpha_gradients(weight_batch, architecture_batch)
            alphas, clip = self.supernet.architecture_parameters(), self.method.architecture_gradient_clip
            optimizer_step(self._optimizers[1], alphas, gradients, clip)

    def _update_weights(self, weight_batch: Batch, architecture_batch: Batch) -> None:
        losses, logits, gradients = self.capture("weights", self._weight_gradients, weight_batch)
        if self._freezing:
            validation = self.capture("matching", self._validation_gradients, architecture_batch)
            self._freezing.observe(gradients, validation)
        with self._freezing.held() if self._freezing else nullcontext():
            weights = self.supernet.weight_parameters()
            optimizer_step(self._optimizers[0], weights, gradients, self.method.gradient_clip)
        self.train_metrics["loss"].update(losses)
        self.train_metrics["accuracy"].update(logits, weight_batch[1])

    @property
    def _optimizers(self) -> list[Any]:
        """Return Lightning's wrappers of the optimizer of the weights and, if it trains, of that of `alpha`."""
        optimizers: Any = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    @property
    def _undecided(self) -> bool:
        """Whether a step of `alpha` would change anything."""
        spaces = self.supernet.cell_spaces
        return any(
            decisions.undecided_edges or (self.supernet.betas and decisions.undecided_nodes(spaces[name]))
            for name, decisions in self.supernet.decisions.items()
        )

    def _forget_if_decided(self) -> None:
        """A decision changes what a step evaluates, so nothing captured before it may be replayed."""
        if self.supernet.decisions != self._captured_under:
            self.capture.forget()
            self._captured_under = dict(self.supernet.decisions)

    def _alpha_gradients(self, weight_batch: Batch, architecture_batch: Batch) -> Sequence[Tensor]:
        """Return the gradient in every architecture parameter of the loss and its regularisers."""
        gradient = self.method.architecture_gradient
        assert gradient is not None
        capture = self.capture if gradient.replayable else NoCapture()
        gradients: Sequence[Tensor] = capture(
            "alpha", self._architecture_gradients, (*weight_batch, *architecture_batch)
        )
        if not self.method.regularizers:
            return gradients
        return [one + more for one, more in zip(gradients, self._regularizer_gradients(), strict=True)]

    def _architecture_gradients(
        self, images: Tensor, labels: Tensor, architecture_images: Tensor, architecture_labels: Tensor
    ) -> Sequence[Tensor]:
        gradient = self.method.architecture_gradient
        assert gradient is not None
        batches = (images, labels), (architecture_images, architecture_labels)
        return gradient(BilevelStep(self.supernet, *batches, self._weight_optimizer))

    def _regularizer_gradients(self) -> Sequence[Tensor]:
        """Return the gradient of the regularisers, zero for decided edges."""
        supernet = self.supernet
        width = max(space.width for space in supernet.cell_spaces.values())
        alphas, weights = [], []
        for name, decisions in supernet.decisions.items():
            undecided, missing = list(decisions.undecided_edges), width - supernet.cell_spaces[name].width
            alphas.append(F.pad(supernet.masked_alpha(name)[undecided], (0, missing), value=-torch.inf))
            weights.append(F.pad(supernet.relaxed(name)[undecided], (0, missing)))
        rows = torch.cat(alphas), torch.cat(weights)
        total = torch.stack([regularizer(*rows) for regularizer in self.method.regularizers.values()]).sum()
        with whole_batches():  # of no batch: it is the same in every process
            return gradients_of(total, supernet.architecture_parameters())

    def _weight_gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
        """Return losses `(B,)`, logits `(B, classes)`, and the gradient of the mean loss in every weight."""
        logits = self.supernet(images, self._weights_of_a_step(images, labels))
        losses = F.cross_entropy(logits, labels, reduction="none")
        # Weights of operations that are not evaluated any more have no gradient.
        gradients = gradients_of(mean(losses), self.supernet.weight_parameters(), allow_unused=True)
        return losses.detach(), logits.detach(), gradients

    def _weights_of_a_step(self, images: Tensor, labels: Tensor) -> MixtureWeights:
        """Return the mixture that the weights' step is taken at."""
        weights = self.supernet.sampled_weights().detach()
        if self._smoothing is not None:

            def loss(moved: MixtureWeights) -> Tensor:
                return cross_entropy(self.supernet(images, moved), labels)

            with frozen_bn_stats(self.supernet):
                weights = self._smoothing(weights, self.supernet.mixed, loss)
        return weights.replaced(drop_path=self._drop_path) if self._drop_path else weights

    def _validation_gradients(self, images: Tensor, labels: Tensor) -> Sequence[Tensor | None]:
        """Return the gradient in every weight of the loss on images that train none."""
        with frozen_bn_stats(self.supernet):
            loss = cross_entropy(self.supernet(images, self.supernet.sampled_weights().detach()), labels)
        return gradients_of(loss, self.supernet.weight_parameters(), allow_unused=True)

    def on_train_epoch_end(self) -> None:
        """Report the epoch's means, step the schedule, decide greedily, and end the search if a rule says so."""
        self.log_dict(self.train_metrics.compute())
        self.train_metrics.reset()
        schedule: Any = self.lr_schedulers()
        names = ("learning_rate", "architecture_learning_rate")
        for name, optimizer in zip(names, self._optimizers, strict=False):
            self.log(name, optimizer.param_groups[0]["lr"])
        if schedule is not None:
            schedule.step()
        if self._freezing:
            self.log("frozen_share", self._freezing.frozen / self._freezing.operations)
        self._decide_greedily()
        self._stop_early()

    def _decide_greedily(self) -> None:
        if self.method.greedy is not None:
            supernet = self.supernet
            supernet.decisions = self.method.greedy.decide(supernet, self.current_epoch, self.method.epochs, self._past)
            self._past.append({name: supernet.relaxed(name).tolist() for name in supernet.cell_spaces})

    def _stop_early(self) -> None:
        for name, rule in self.method.stopping.items():
            generator = generator_for(*self.rng_key, "stopping", name, self.current_epoch)
            value = self._measured(rule, generator)
            self.log(f"stopping_{name}", value)
            self._curves[name].append(value)
            kept = rule.kept_epochs(self._curves[name], self.method.epochs)
            if kept is not None and self.kept_epochs is None:
                self.kept_epochs = kept
                self.trainer.should_stop = True

    def _measured(self, rule: StoppingRule, generator: torch.Generator) -> float:
        batches: Any = self.trainer.val_dataloaders or ()
        return on_main_process(lambda: rule.measure(self.supernet, batches, generator))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the parts remember, as plain data."""
        checkpoint["search"] = {
            "kept_epochs": self.kept_epochs,
            "past": self._past,
            "curves": self._curves,
            "freezing": self._freezing and self._freezing.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        state = checkpoint["search"]
        self.kept_epochs, self._past, self._curves = state["kept_epochs"], state["past"], state["curves"]
        if self._freezing:
            self._freezing.load_state_dict(state["freezing"])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the supernet on images of the `alpha` half."""
        images, labels = batch
        logits = self.capture("validation", self.supernet, (images,))
        self.val_metrics["loss"].update(F.cross_entropy(logits, labels, reduction="none"))
        self.val_metrics["accuracy"].update(logits, labels)
        self.class_accuracy.update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Report the means over the validation images."""
        self.log_dict(self.val_metrics.compute())
        self.val_metrics.reset()
        shares = self.class_accuracy.compute()
        self.class_accuracy.reset()
        self.log("val_balanced_accuracy", balanced(shares))
        self.per_class["val_accuracy_per_class"] = listed(shares)
