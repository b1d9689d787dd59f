"""Networks of one architecture: what all of them are to those who train them, and their cells."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from archselect.genotype import CellGenotype, Genotype, Input
from archselect.models.cell_space import CellTopology
from archselect.models.ops import build_operation, primitive
from archselect.models.ops.drop_path import drop_path


class DiscreteNetwork(nn.Module, ABC):
    """A network made from a genotype, ready to be trained from scratch; every batch normalisation in it is affine.

    Args:
        classes: Number of classes.
        smallest_image_size: Height and width of the smallest images that it can halve as often as it does.
    """

    auxiliary: nn.Module | None

    def __init__(self, classes: int, smallest_image_size: int) -> None:
        super().__init__()
        require_at_least(1, classes=classes)
        self.smallest_image_size = smallest_image_size
        self.auxiliary = None
        self._drop_path_probability = 0.0

    @property
    def drop_path_probability(self) -> float:
        """How probable it is, in `[0, 1)`, that an operation's output is dropped for a sample while training.

        Identities are never dropped. Whoever trains the network sets this, epoch by epoch; zero costs nothing.
        """
        return self._drop_path_probability

    @drop_path_probability.setter
    def drop_path_probability(self, probability: float) -> None:
        if not 0 <= probability < 1:
            raise ValueError(f"The drop path probability is at least 0 and less than 1; got {probability!r}.")
        self._drop_path_probability = float(probability)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `(B, classes)` of the images `(B, 3, H, W)`; the auxiliary head is not evaluated."""
        self._require_images(x)
        return self._evaluate(x, with_auxiliary=False)[0]

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and those of the auxiliary head, `None` for a network without one."""
        self._require_images(x)
        return self._evaluate(x, with_auxiliary=True)

    def parameter_count(self) -> int:
        """Return the number of weights as papers count them: without the auxiliary head, used in training only."""
        auxiliary = self.auxiliary.parameters() if self.auxiliary is not None else ()
        return sum(weight.numel() for weight in self.parameters()) - sum(weight.numel() for weight in auxiliary)

    def _require_images(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != 3:
            raise ValueError(f"This network takes images (B, 3, H, W); got {tuple(x.shape)}.")
        self._require_image_size(min(x.shape[-2:]))

    def _require_image_size(self, size: int) -> None:
        if size < self.smallest_image_size:
            raise ValueError(
                f"Images of {size} pixels are too small for this network, which halves them too often. The smallest it "
                f"takes are {self.smallest_image_size}x{self.smallest_image_size}: scale the images up."
            )

    def _active_drop_path_probability(self) -> float:
        return self._drop_path_probability if self.training else 0.0

    @abstractmethod
    def _evaluate(self, x: Tensor, with_auxiliary: bool) -> tuple[Tensor, Tensor | None]: ...


def require_at_least(minimum: int, **numbers: int) -> None:
    """Raise a `ValueError` for the first of the named numbers that is no whole number or less than `minimum`."""
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < minimum:
            raise ValueError(f"A network needs a whole number of {name}, at least {minimum}; got {number!r}.")


def require_topology(
    genotype: Genotype, topology: CellTopology, names: tuple[str, ...], inputs: int, output: str
) -> None:
    """Raise a `ValueError` unless the genotype has exactly the cells `names`, shaped as topology and family say."""
    if (topology.inputs, topology.output) != (inputs, output):
        raise ValueError(
            f"This network is made of cells with inputs={inputs} and output={output!r}; the topology has "
            f"inputs={topology.inputs} and output={topology.output!r}."
        )
    if sorted(genotype.names) != sorted(names):
        raise ValueError(
            f"This network is made of the cells {', '.join(names)}; the genotype has {', '.join(genotype.names)}."
        )
    for cell in genotype:
        if (cell.inputs, len(cell.nodes)) != (topology.inputs, topology.nodes):
            raise ValueError(
                f"A cell of this network has {topology.inputs} inputs and {topology.nodes} nodes; cell "
                f"{cell.name!r} of the genotype has {cell.inputs} inputs and {len(cell.nodes)} nodes."
            )


class DiscreteNode(nn.Module):
    """The sum over a node's inputs. An input `none` is not built; a node that has no other is zeros.

    Args:
        inputs: What the node sums.
        channels: Of every state.
        strides: Stride of an edge, by its source.
    """

    def __init__(self, inputs: Sequence[Input], channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        present = [edge for edge in inputs if not primitive(edge.operation).zero] or inputs[:1]
        self.sources = tuple(source for _, source in present)
        self.operations = nn.ModuleList(
            build_operation(operation, channels, strides[source]) for operation, source in present
        )
        self.identities = tuple(
            primitive(operation).identity_at_stride_1 and strides[source] == 1 for operation, source in present
        )

    def forward(self, states: Sequence[Tensor], drop_path_probability: float) -> Tensor:
        """Return `(B, C, H, W)`; with a positive probability the output of each operation but identities drops out."""
        outputs = [operation(states[source]) for operation, source in zip(self.operations, self.sources, strict=True)]
        if drop_path_probability > 0:
            outputs = [
                output if identity else drop_path(output, drop_path_probability)
                for output, identity in zip(outputs, self.identities, strict=True)
            ]
        return reduce(torch.add, outputs)


class DiscreteCell(nn.Module):
    """All nodes of a cell.

    Args:
        genotype: Of this cell.
        channels: Of the inputs and of every node.
        stride: Of the edges that leave the cell's inputs; all others have stride 1.
    """

    def __init__(self, genotype: CellGenotype, channels: int, stride: int = 1) -> None:
        super().__init__()
        strides = (stride,) * genotype.inputs + (1,) * len(genotype.nodes)
        self.nodes = nn.ModuleList(DiscreteNode(node, channels, strides) for node in genotype.nodes)

    def forward(self, inputs: Sequence[Tensor], drop_path_probability: float = 0.0) -> list[Tensor]:
        """Return the value of each node, `(B, C, H, W)`."""
        states = list(inputs)
        for node in self.nodes:
            states.append(node(states, drop_path_probability))
        return states[len(inputs) :]
