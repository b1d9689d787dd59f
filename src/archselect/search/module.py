"""The bilevel step of a search: DARTS (Liu et al., ICLR 2019, arXiv 1806.09055), Algorithm 1, eq. 5-8.

`SearchModule.training_step` is the body of the algorithm's loop. On two batches that share no image it updates `alpha`
against the gradient of the validation loss (eq. 5-8, `search.alpha_gradient`), then the weights against the gradient of
the training loss. The parts of a `SearchMethod` change either of them, or act at the end of an epoch. A selection tunes
its supernet by the same steps.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer

from archselect.data.loader import Batch, BilevelBatch
from archselect.distributed.process_group import on_main_process
from archselect.distributed.rng import derived_seed, generator_for, seed_generators
from archselect.models.restored_state import frozen_bn_stats
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.search.method import SearchMethod
from archselect.search.regularizers import regularizer_gradients
from archselect.search.sgas import Mixtures
from archselect.tasks import Task
from archselect.training import step
from archselect.training.cuda_graphs import Capture, capture_for
from archselect.training.metrics import EpochMetrics


class SearchModule(pl.LightningModule):
    """Bilevel optimisation: per step one update of `alpha` on a batch of its half, then one of the weights on theirs.

    The supernet, which gives `outputs` numbers per image, is trained in place. The randomness inside it and of the
    parts is derived from `rng_key` and the epoch. The optimizer of `alpha` goes on from an `architecture_state()`, if
    there is one.
    """

    kept_epochs: int | None = None
    """Once a rule has ended the search: after how many epochs the supernet is to be taken."""

    def __init__(
        self,
        supernet: Supernet,
        method: SearchMethod,
        task: Task,
        outputs: int,
        rng_key: tuple[int | str, ...],
        architecture_state: step.OptimizerState | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.supernet, self.method, self.task, self.rng_key = supernet, method, task, rng_key
        supernet.recompute = method.recompute
        self.capture = Capture()
        self._captured_under = dict(supernet.decisions)
        self._smoothing, self._drop_path = method.smoothing, 0.0
        self._weight_optimizer: Optimizer | None = None
        self._architecture_optimizer: Optimizer | None = None
        self._architecture_state = architecture_state
        self._frozen = method.freezing and method.freezing.start(supernet)
        self._past: list[Mixtures] = []
        self._price, self._multiplier = 0.0, 0.0  # of a unit of cost at this step; see `CostTerm`
        self._curves: dict[str, list[float]] = {name: [] for name in method.stopping}
        self.train_metrics = EpochMetrics("train", task, outputs, scored=False)
        self.val_metrics = EpochMetrics("val", task, outputs)
        self.per_class: dict[str, list[float | None]] = {}  # of the last validation
        self.set_progress(method.progress(0))

    def training_step(self, batch: BilevelBatch, batch_idx: int) -> None:
        """Make one bilevel step (DARTS, Algorithm 1; GDAS updates the weights first)."""
        if self.supernet.decisions != self._captured_under:
            self.capture.forget()
            self._captured_under = dict(self.supernet.decisions)
        if self.method.update_order == "alpha_first":
            self._update_alpha(batch)
        self._update_weights(batch)
        if self.method.update_order == "weights_first":
            self._update_alpha(batch)

    def _update_alpha(self, batch: BilevelBatch) -> None:
        if self.method.trains_alpha(self.current_epoch) and self.has_undecided:
            if self.method.cost is not None:
                self._price, self._multiplier = self.method.cost.charge(self.supernet, self._multiplier)
            alphas, clip = self.supernet.architecture_parameters(), self.method.architecture_gradient_clip
            step.optimizer_step(self._optimizers[1], alphas, self.alpha_gradients(batch), clip)

    def _update_weights(self, batch: BilevelBatch) -> None:
        losses, outputs, gradients = self.weight_gradients(batch)
        if self._frozen:
            self._frozen.observe(gradients, self.validation_gradients(batch))
        with self._frozen.hold_frozen_weights() if self._frozen else nullcontext():
            weights = self.supernet.weight_parameters()
            step.optimizer_step(self._optimizers[0], weights, gradients, self.method.gradient_clip)
        self.train_metrics.update(losses, outputs, batch.weights[1])

    def alpha_gradients(self, batch: BilevelBatch) -> Sequence[Tensor]:
        """Return the gradient in every architecture parameter of the validation loss (eq. 5-8) and the regularisers."""
        gradient = self.method.architecture_gradient
        assert gradient is not None
        capture = self.capture if gradient.replayable else Capture()
        function = partial(gradient, self.supernet, task=self.task, weight_optimizer=self._weight_optimizer)
        gradients = capture("alpha", function, (batch,))
        if self.method.regularizers:
            terms = regularizer_gradients(self.supernet, self.method.regularizers.values())
            gradients = [one + more for one, more in zip(gradients, terms, strict=True)]
        if self.method.cost is not None and self._price:
            terms = self.method.cost.gradients(self.supernet, self._price)
            gradients = [one + more for one, more in zip(gradients, terms, strict=True)]
        return gradients

    def weight_gradients(self, batch: BilevelBatch) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
        """Return training losses `(B,)`, outputs `(B, outputs)`, and the gradient of the mean loss in every weight."""

        def function(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
            outputs = self.supernet(images, self.weights_of_a_step(images, labels))
            losses = self.task.losses(outputs, labels)
            # Weights of operations that are not evaluated any more have no gradient.
            gradients = step.gradients_of(step.mean(losses), self.supernet.weight_parameters(), allow_unused=True)
            return losses.detach(), outputs.detach(), gradients

        return self.capture("weights", function, batch.weights)

    def weights_of_a_step(self, images: Tensor, labels: Tensor) -> MixtureWeights:
        """Return the mixture that the weights' step is taken at: as sampled, smoothed, with paths dropped."""
        weights = self.supernet.sampled_weights().detach()
        if self._smoothing is not None:
            with frozen_bn_stats(self.supernet):

                def loss(moved: MixtureWeights) -> Tensor:
                    return step.mean_loss(self.task, self.supernet(images, moved), labels)

                weights = self._smoothing(weights, self.supernet.mixed, loss)
        return weights.replaced(drop_path=self._drop_path) if self._drop_path else weights

    def validation_gradients(self, batch: BilevelBatch) -> Sequence[Tensor | None]:
        """Return the gradient in every weight of the loss on the images that train none."""

        def function(images: Tensor, labels: Tensor) -> Sequence[Tensor | None]:
            with frozen_bn_stats(self.supernet):
                outputs = self.supernet(images, self.supernet.sampled_weights().detach())
                loss = step.mean_loss(self.task, outputs, labels)
            return step.gradients_of(loss, self.supernet.weight_parameters(), allow_unused=True)

        return self.capture("matching", function, batch.architecture)

    @property
    def has_undecided(self) -> bool:
        """Whether a step of `alpha` would change anything."""
        spaces = self.supernet.cell_spaces
        return any(
            decisions.undecided_edges or (self.supernet.betas and decisions.undecided_nodes(spaces[name]))
            for name, decisions in self.supernet.decisions.items()
        )

    def configure_optimizers(self) -> Any:
        """Return the optimizer of the weights with its schedule, then that of `alpha` if it trains."""
        self._weight_optimizer = weights = self.method.weight_optimizer(self.supernet.weight_parameters())
        schedule = self.method.schedule(weights)
        if self.method.architecture_gradient is None:
            return [weights], [schedule] if schedule else []
        alpha = self.method.architecture_optimizer(self.supernet.architecture_parameters())
        if self._architecture_state is not None:
            step.load_optimizer_state(alpha, self._architecture_state)
        self._architecture_optimizer = alpha
        return [weights, alpha], [schedule] if schedule else []

    @property
    def _optimizers(self) -> list[Any]:
        """Lightning's wrappers of the optimizer of the weights and, if it trains, of that of `alpha`."""
        optimizers: Any = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def architecture_state(self) -> step.OptimizerState | None:
        """Return what the optimizer of `alpha` remembers, as plain data; None where `alpha` does not train."""
        return None if self._architecture_optimizer is None else self._architecture_optimizer.state_dict()["state"]

    def on_train_start(self) -> None:
        """Make what captures the steps, now that the device is known; a search that had ended stays so."""
        self.capture = capture_for(self.method.capture, self.device, self.supernet)
        if self.kept_epochs is not None:
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        self.capture.forget()

    def on_train_epoch_start(self) -> None:
        """Tell the batches the epoch, which Lightning does for samplers only, seed the noise, set what changes."""
        batches: Any = self.trainer.train_dataloader
        batches.set_epoch(self.current_epoch)
        seed_generators(derived_seed(*self.rng_key, "network", self.current_epoch))
        self.set_progress(self.method.progress(self.current_epoch))

    def set_progress(self, progress: float) -> None:
        """Set what changes in the course of the search; 0 is its first epoch, 1 its last."""
        method, supernet = self.method, self.supernet
        before = (supernet.relaxation, supernet.auxiliary_weight, self._smoothing, self._drop_path)
        supernet.relaxation = method.relaxation.at(progress)
        supernet.auxiliary_weight = 1 - progress if method.auxiliary_skip else 0.0
        self._smoothing, self._drop_path = method.smoothing_at(progress), method.drop_path * progress
        if before != (supernet.relaxation, supernet.auxiliary_weight, self._smoothing, self._drop_path):
            self.capture.forget()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, step the schedule, decide greedily, and end the search if a rule says so."""
        self.train_metrics.log(self)
        for name, optimizer in zip(("learning_rate", "architecture_learning_rate"), self._optimizers, strict=False):
            self.log(name, optimizer.param_groups[0]["lr"])
        schedule: Any = self.lr_schedulers()
        if schedule is not None:
            schedule.step()
        if self._frozen:
            self.log("frozen_share", self._frozen.frozen_share)
        if self.method.cost is not None:
            self.log_dict({**self.method.cost.history(self.supernet), "cost_multiplier": self._multiplier})
        if self.method.greedy is not None:
            supernet = self.supernet
            supernet.decisions = self.method.greedy.decide(supernet, self.current_epoch, self.method.epochs, self._past)
            self._past.append({name: supernet.relaxed(name).tolist() for name in supernet.cell_spaces})
        self._stop_early()

    def _stop_early(self) -> None:
        batches: Any = self.trainer.val_dataloaders or ()
        for name, rule in self.method.stopping.items():
            generator = generator_for(*self.rng_key, "stopping", name, self.current_epoch)
            value = on_main_process(partial(rule.measure, self.supernet, self.task, batches, generator))
            self.log(f"stopping_{name}", value)
            self._curves[name].append(value)
            kept = rule.kept_epochs(self._curves[name], self.method.epochs)
            if kept is not None and self.kept_epochs is None:
                self.kept_epochs = kept
                self.trainer.should_stop = True

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the supernet on images of the `alpha` half."""
        images, labels = batch
        outputs = self.capture("validation", self.supernet, (images,))
        self.val_metrics.update(self.task.losses(outputs, labels), outputs, labels)

    def on_validation_epoch_end(self) -> None:
        self.per_class |= self.val_metrics.log(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the parts remember, as plain data."""
        checkpoint["search"] = {"kept_epochs": self.kept_epochs, "past": self._past, "curves": self._curves}
        if self.method.cost is not None:
            checkpoint["search"]["multiplier"] = self._multiplier

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["search"]
        self.kept_epochs, self._past, self._curves = state["kept_epochs"], state["past"], state["curves"]
        if self.method.cost is not None:
            self._multiplier = state["multiplier"]
