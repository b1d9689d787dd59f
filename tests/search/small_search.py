from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn
from torch.optim import Optimizer

from archselect.data import BilevelBatches, DeviceLoader, Normalisation
from archselect.models.cell_space import CellDecisions, CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.relaxation import SupernetOptions
from archselect.models.supernet.supernet import Supernet
from archselect.search import SearchMethod, SearchModule
from archselect.tasks import Classification

CONFIGS = Path(__file__).parents[2] / "configs" / "search"
CLASSES = 3
PLAIN = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def cell_supernet(*operations: str) -> Supernet:
    """One cell type, `cell`, of two nodes and three edges."""
    candidates = operations or ("skip_connect", "nor_conv_1x1", "avg_pool_3x3")
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (candidates,) * 3)
    torch.manual_seed(1)
    return NASBench201Supernet({"cell": space}, channels=2, cells_per_stage=1, classes=CLASSES, alpha_scale=0.5)


def darts_supernet(*operations: str, variant: SupernetOptions = SupernetOptions()) -> Supernet:  # noqa: B008
    """Two cell types of two nodes and five edges."""
    topology = CellTopology(2, 2, "concat", 2)
    cells = {name: CellSpace(name, topology, (operations,) * 5) for name in ("normal", "reduction")}
    torch.manual_seed(1)
    return DartsSupernet(cells, channels=2, layers=3, classes=CLASSES, alpha_scale=0.5, variant=variant)


def decide(supernet: Supernet, cell: str, operations: Mapping[int, int]) -> None:
    decisions: CellDecisions = supernet.decisions[cell]
    for edge, operation in operations.items():
        decisions = decisions.keep_operation(edge, operation)
    supernet.decisions = {**supernet.decisions, cell: decisions}


def configured(file: str, *path: str, **changes: Any) -> Any:
    """Return a part as a file of configs/search composes it, with some of its options changed."""
    node: Any = OmegaConf.load(CONFIGS / f"{file}.yaml")
    for key in path:
        node = node[key]
    return instantiate(node, **changes)


unrolled = partial(configured, "darts_second_order", "architecture_gradient")
sgas = partial(configured, "sgas", "greedy")
random_smoothing = partial(configured, "sdarts_rs", "smoothing")
adversarial = partial(configured, "sdarts_adv", "smoothing")
matching = partial(configured, "part/gradient_matching", "freezing")
skip_limit = partial(configured, "part/skip_limit", "stopping", "skips")


def partly_decided(*operations: str) -> Supernet:
    """Edge 0 of the normal cell is decided, edge 3 dropped."""
    supernet = darts_supernet(*operations)
    decide(supernet, "normal", {0: 1})
    space, normal = supernet.cell_spaces["normal"], supernet.decisions["normal"]
    supernet.decisions = {**supernet.decisions, "normal": normal.keep_inputs(space, 3, (2, 4))}
    return supernet


def method(**changes: Any) -> SearchMethod:
    """Return first-order DARTS, for few images."""
    settings: Any = OmegaConf.load(CONFIGS / "darts.yaml")
    small: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 4,
        "weight_optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=3e-4),
        "learning_rate_min": 0.02,
        "architecture_optimizer": partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.999), weight_decay=1e-3),
        **changes,
    }
    rest = {name: settings[name] for name in settings if name not in ("_target_", *small)}
    return SearchMethod(**instantiate(rest, _convert_="all"), **small)


def resident(count: int, batch_size: int, purpose: tuple[int | str, ...] = ()) -> DeviceLoader:
    """Images of which the first channel is the image's number; shuffled anew in every epoch if there is a purpose."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images[:, 0] = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return DeviceLoader(images, labels, batch_size, "cpu", PLAIN, purpose or (0, "fixed"), shuffle=bool(purpose))


def bilevel(weights: int = 8, architecture: int = 8, batch_size: int = 4) -> BilevelBatches:
    return BilevelBatches(
        resident(weights, batch_size, (0, "weights")), resident(architecture, batch_size, (0, "architecture"))
    )


def numbers(images: Tensor) -> list[int]:
    """Which images these are."""
    return ((images[:, 0, 0, 0] * 0.25 + 0.5) * 255).round().int().tolist()


def plain_bilevel_training(
    supernet: Supernet, method: SearchMethod, epochs: int = 1, alpha_optimizer: Optimizer | None = None
) -> Optimizer:
    """The textbook loop: full backward passes, one update after the other, each with its gradient clipped.

    It returns the optimizer of alpha, for another loop.
    """
    weights, alphas = supernet.weight_parameters(), supernet.architecture_parameters()
    weight_optimizer = method.weight_optimizer(weights)
    alpha_optimizer = alpha_optimizer or method.architecture_optimizer(alphas)
    schedule, batches = method.schedule(weight_optimizer), bilevel()
    supernet.train()
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for of_weights, of_alpha in batches:
            updates = [
                (of_alpha, alphas, method.architecture_gradient_clip, alpha_optimizer),
                (of_weights, weights, method.gradient_clip, weight_optimizer),
            ]
            if method.update_order == "weights_first":
                updates.reverse()
            for (images, labels), parameters, clip, optimizer in updates:
                supernet.zero_grad(set_to_none=False)  # a decided alpha still decays, in Adam's own way
                F.cross_entropy(supernet(images), labels).backward()
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, clip)
                optimizer.step()
        if schedule is not None:
            schedule.step()
    return alpha_optimizer


class Memory(Logger):
    """Keeps what is logged: one dictionary per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: dict[int, dict[str, float]] = {}

    name = version = "memory"

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.epochs.setdefault(int(metrics["epoch"]), {}).update(metrics)

    def log_hyperparams(self, *args: Any, **options: Any) -> None:
        pass


def trainer(epochs: int, **options: Any) -> pl.Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any(isinstance(one, Checkpoint) for one in options.get("callbacks", [])),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(max_epochs=epochs, **settings | options)


def parameters_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Everything that training changes: parameters and batch statistics, without the decisions."""
    return ((name, value) for name, value in network.state_dict().items() if isinstance(value, Tensor))


def assert_same(one: nn.Module, other: nn.Module, tolerance: float = 0.0) -> None:
    """Apart from the count of batches, which nothing reads."""
    for (name, value), (_, expected) in zip(parameters_of(one), parameters_of(other), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(
                value, expected, rtol=tolerance, atol=tolerance, msg=lambda x, n=name: f"{n}: {x}"
            )


def module(supernet: Supernet, **changes: Any) -> SearchModule:
    return SearchModule(supernet, method(**changes), Classification(), CLASSES, (0, "search"))


class KilledError(Exception):
    pass


class SaveThenDie(Checkpoint):
    """Writes a checkpoint after every epoch and dies in the middle of one."""

    def __init__(self, file: Path, in_epoch: int | None = None) -> None:
        self.file, self.in_epoch = file, in_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.file)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.in_epoch:
            raise KilledError
