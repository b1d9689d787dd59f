"""The search stage: a supernet is trained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from archselect.distributed.process_group import gathered, on_main_process
from archselect.distributed.rng import derived_seed, seed_generators
from archselect.models.supernet.supernet import Supernet, argmax_genotype
from archselect.pipeline.stage import RunStage, StageContext
from archselect.safe_io import tensors
from archselect.search import SearchMethod, SearchModule, cap_skips
from archselect.search.data import search_loaders
from archselect.store import SCRATCH
from archselect.training.checkpoint import load_state, save
from archselect.training.fit import StageTrainer
from archselect.training.step import OptimizerState

SUPERNET = "supernet.pt"

UNSUMMARISED = ("epochs", "kept_epochs", "weights", "magnitude_genotype", "val_loss")
"""What the summary of a run does not say of its search, besides the metrics of the training images."""


@dataclass(frozen=True)
class SearchStage(RunStage):
    """Trains a supernet on the training images; the test images are not read."""

    kind = "search"

    method: SearchMethod

    def run(self, stage_trainer: StageTrainer) -> Mapping[str, Any]:
        """Train the supernet and keep it."""
        job, folder = self.job, stage_trainer.folder
        folder.write_json("space.json", job.space.describe())
        supernet = new_supernet(job, self.method)
        module = SearchModule(supernet, self.method, job.fitted_task, job.outputs, (job.seed, "search"))
        history = stage_trainer.fit(
            module,
            lambda device: search_loaders(job.data, self.method, device, job.seed, "search"),
            self.method.epochs,
            callbacks=list(self._snapshots(supernet, folder.path)),
            describe=lambda: {**describe_supernet(supernet), **module.per_class},
        )
        kept, state = module.kept_epochs or len(history), module.architecture_state()
        if kept < len(history):
            scratch = folder.path / SCRATCH
            supernet.load_state_dict(load_state(supernet_file(scratch, kept)))
            state = None if state is None else load_state(optimizer_file(scratch, kept))["state"]
        if self.method.skip_cap is not None:
            cap_skips(supernet, self.method.skip_cap)
        _save(folder.path, None, supernet.cpu(), state)
        last = history[kept - 1]
        return {
            "epochs": len(history),
            "kept_epochs": kept,
            "weights": sum(parameter.numel() for parameter in supernet.weight_parameters()),
            "magnitude_genotype": describe_supernet(supernet)["genotype"],
            **reported(last),
            **describe_data(job),
        }

    def _snapshots(self, supernet: Supernet, path: Path) -> Iterator["Snapshots"]:
        if self.method.rollback_window:
            # Two more than a rule asks for: a session cut off before its checkpoint makes the last epoch again, and one
            # whose newest checkpoint is damaged the one before it.
            yield Snapshots(supernet, path / SCRATCH, every=1, newest=self.method.rollback_window + 3)
        if self.method.snapshots:
            yield Snapshots(supernet, path, self.method.snapshots)


class Snapshots(Checkpoint):
    """Keeps the supernet in a folder after `every` so many epochs and the last, of these only so many of the `newest`.

    With it goes what the optimizer of `alpha` remembers then.
    """

    def __init__(self, supernet: Supernet, path: Path, every: int, newest: int | None = None) -> None:
        self.supernet, self.path, self.every, self.newest = supernet, path, every, newest

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        done = trainer.current_epoch + 1
        if done % self.every and done != trainer.max_epochs:
            return
        assert isinstance(pl_module, SearchModule)
        state = pl_module.architecture_state()
        on_main_process(lambda: self._write(done, state))

    def _write(self, done: int, state: OptimizerState | None) -> None:
        supernet_file(self.path, done).parent.mkdir(parents=True, exist_ok=True)
        _save(self.path, done, self.supernet, state)
        if self.newest is not None:
            for file in (supernet_file, optimizer_file):
                file(self.path, done - self.newest * self.every).unlink(missing_ok=True)


def supernet_file(folder: Path, epochs: int | None = None) -> Path:
    """Return the file of the supernet at a stage's end, or as it was after so many epochs."""
    return folder / (SUPERNET if epochs is None else f"snapshots/epoch-{epochs}.pt")


def optimizer_file(folder: Path, epochs: int | None = None) -> Path:
    """Return the file of what the optimizer of `alpha` remembered then; a search with fixed `alpha` keeps none."""
    return folder / ("architecture_optimizer.pt" if epochs is None else f"snapshots/architecture_optimizer-{epochs}.pt")


def snapshots(folder: Path) -> list[int]:
    """Return after how many epochs a search stage kept the supernet, ascending."""
    return sorted(int(file.stem.removeprefix("epoch-")) for file in (folder / "snapshots").glob("epoch-*.pt"))


def _save(folder: Path, epochs: int | None, supernet: Supernet, state: OptimizerState | None) -> None:
    if state is not None:
        save({"state": state}, optimizer_file(folder, epochs))
    save(supernet.state_dict(), supernet_file(folder, epochs))


def reported(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result says of an epoch, of its record in the history: the metrics of training and validation."""
    values = {**record["metrics"], **record}
    return {name: value for name, value in values.items() if name.startswith(("val_", "train_"))}


def summarised(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the summary of a run says of its search, as `search.NAME`; it has the names of the classes itself."""
    of_training = {f"train_{name.removeprefix('val_')}" for name in result if name.startswith("val_")}
    return {name: value for name, value in result.items() if name not in {*UNSUMMARISED, *of_training}}


def describe_data(job: StageContext) -> dict[str, Any]:
    """Return what a result says of the training images: their targets, mean and std, how many are broken."""
    data = job.data
    mean, std = data.normalisation.mean, data.normalisation.std
    targets = job.fitted_task.describe(data, data.train.labels, "train")
    said = {**targets, "mean": list(mean), "std": list(std)}
    broken = len(set(chain(*gathered(list(data.broken.met)))))
    return said | ({"broken_images": broken} if broken else {})


def new_supernet(job: StageContext, method: SearchMethod) -> Supernet:
    """Return the supernet as the seed draws it."""
    with torch.random.fork_rng(devices=[]):
        seed_generators(derived_seed(job.seed, "search", "initialisation"))
        return job.space.supernet(job.data.image_size, job.outputs, method.variant, job.data.channels)


def load_supernet(job: StageContext, method: SearchMethod, folder: Path, epochs: int | None = None) -> Supernet:
    """Return the supernet that a search or selection stage kept: the last, or the snapshot after so many epochs.

    Raises:
        ValueError: There is no such snapshot, or it is damaged.
    """
    file = supernet_file(folder, epochs)
    if epochs is not None and not file.exists():
        kept = ", ".join(map(str, snapshots(folder))) or "none"
        raise ValueError(
            f"{folder} has no snapshot of the supernet after {epochs} epochs; there are: {kept}. Search with "
            "search.snapshots=N to keep one after every N epochs."
        )
    # These are told by the images, which are no tensors of the kind below.
    size, outputs, channels = job.data.image_size, job.outputs, job.data.channels
    with torch.device("meta"):  # the file bounds what is made: a config could ask for more than this machine has
        described = job.space.supernet(size, outputs, method.variant, channels)
        tensors.check_fits(described, tensors.load_state(file), file)
    supernet = new_supernet(job, method)
    tensors.load_into(supernet, file)
    return supernet


def load_architecture_state(folder: Path, epochs: int | None = None) -> OptimizerState:
    """Return what the optimizer of `alpha` remembered at the end of a search stage, or after so many epochs.

    Raises:
        ValueError: The search kept no such file, or it is damaged.
    """
    file = optimizer_file(folder, epochs)
    if not file.exists():
        raise ValueError(
            f"{folder} has no {file.relative_to(folder)}, the state of the optimizer of alpha, which a search that "
            "trains alpha keeps. Search again, or set selection.tuning.architecture_optimizer_state=fresh."
        )
    state = tensors.load_state(file).get("state")
    if not isinstance(state, dict):
        raise ValueError(f"{file} holds no state of an optimizer.")
    return state


def describe_supernet(supernet: Supernet) -> dict[str, Any]:
    """Return what the history says of `alpha`: mixture weights, entropies, share of skips, genotype by magnitude."""
    mixture = {name: weights.detach().cpu() for name, weights in supernet.mixture_weights().items()}
    entropies, strongest = {}, list[str]()
    for name, space in supernet.cell_spaces.items():
        weights = mixture[name]
        shares = weights / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        entropies[name] = torch.special.entr(shares).sum(dim=1).mean().item()
        edges = zip(space.operations, weights, strict=True)
        strongest += [names[int(row.argmax())] for names, row in edges if row.any()]  # all zero: a dropped edge
    return {
        "alpha": {name: weights.tolist() for name, weights in mixture.items()},
        "entropy": entropies,
        "skip_share": strongest.count("skip_connect") / len(strongest),
        "genotype": str(argmax_genotype(supernet)),
    }
