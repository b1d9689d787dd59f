"""The stage of a reference network: a VGG or a ResNet is trained on a run's images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from archselect.evaluation import Retraining
from archselect.foreign.tensors import load_into
from archselect.networks.reference import Kind, ReferenceNetwork
from archselect.stages.evaluation import NETWORK, retrain
from archselect.stages.fitting import Fitting
from archselect.stages.job import Finished, Job
from archselect.store import StageKey

VERSION = 2
"""Raised when a change of the code changes the stage's results."""


@dataclass(frozen=True)
class Shape:
    """See `ReferenceNetwork`."""

    kind: Kind
    channels: int
    layers: int


@dataclass(frozen=True)
class ReferenceStage:
    """Trains a reference network from scratch.

    Attributes:
        job: What all stages share.
        shape: Of the network.
        recipe: How it is trained.
        identity: Everything else that determines the result: the recipe's options, the images, the precision, the seed.
        label: Readable name.
    """

    job: Job
    shape: Shape
    recipe: Retraining
    identity: Mapping[str, Any]
    label: str

    @property
    def key(self) -> StageKey:
        """See `Stage.key`."""
        return StageKey("analysis", self.label, {"version": VERSION, "network": asdict(self.shape), **self.identity})

    @property
    def config(self) -> Mapping[str, Any]:
        """See `Stage.config`."""
        return {"network": asdict(self.shape), **self.identity}

    def work(self, fitting: Fitting) -> Mapping[str, Any]:
        """Train and test the network."""
        return retrain(lambda: new_network(self.shape, self.job), self.recipe, self.job, fitting)


def new_network(shape: Shape, job: Job) -> ReferenceNetwork:
    """Return the network, untrained."""
    return ReferenceNetwork(shape.kind, shape.channels, shape.layers, job.data.classes)


def trained_network(stage: Finished, shape: Shape, job: Job) -> ReferenceNetwork:
    """Return the network that a finished stage trained, on the CPU and in evaluation mode."""
    network = new_network(shape, job)
    load_into(network, stage.folder.path / NETWORK)
    return network.eval()
