"""Networks of one architecture: what all of them are to those who train them, and their cells."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from archselect.genotype import CellGenotype, Genotype, Input
from archselect.models.ops.primitives import PRIMITIVES, Primitives, drop_path, primitive
from archselect.utils.validation import POSITIVE_INT


class DiscreteNetwork(nn.Module, ABC):
    """A network made from a genotype, ready to be trained from scratch; every batch normalisation in it is affine.

    Args:
        in_channels: Of the images.
        reduction: By what the stem makes images smaller before the cells halve them twice.

    Attributes:
        features: Channels of the last feature map, which the head reads.
        auxiliary: The auxiliary head, if there is one.
        drop_path_probability: How probable it is, in `[0, 1)`, that an operation's output is dropped for a sample while
            training. Identities are never dropped. Whoever trains the network sets this; zero costs nothing.
    """

    features: int

    def __init__(self, in_channels: int = 3, reduction: int = 1) -> None:
        check_sizes(in_channels=in_channels)
        super().__init__()
        self.in_channels, self.reduction = in_channels, reduction
        self.auxiliary: nn.Module | None = None
        self.drop_path_probability = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `(B, classes)` of images `(B, in_channels, H, W)`; the auxiliary head is not evaluated."""
        self._check_images(x)
        return self._evaluate(x, with_auxiliary=False)[0]

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and those of the auxiliary head, `None` for a network without one."""
        self._check_images(x)
        return self._evaluate(x, with_auxiliary=True)

    def parameter_count(self) -> int:
        """Return the number of weights as papers count them: without the auxiliary head, used in training only."""
        auxiliary = self.auxiliary.parameters() if self.auxiliary is not None else ()
        return sum(weight.numel() for weight in self.parameters()) - sum(weight.numel() for weight in auxiliary)

    def _check_images(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"This network takes images (B, {self.in_channels}, H, W); got {tuple(x.shape)}.")
        if min(x.shape[-2:]) < (least := 4 * self.reduction):
            few = f"{tuple(x.shape[-2:])} pixels are too few: scale them up to {least}x{least}."
            before = "" if self.reduction == 1 else f"makes images {self.reduction} times smaller, "
            raise ValueError(f"This network {before}halves images twice, and {few}")

    def _active_drop_path_probability(self) -> float:
        return self.drop_path_probability if self.training else 0.0

    @abstractmethod
    def _evaluate(self, x: Tensor, with_auxiliary: bool) -> tuple[Tensor, Tensor | None]: ...


def check_sizes(**sizes: int) -> None:
    """Raise a ValueError for the first size of a network that is not a whole number above 0."""
    for name, size in sizes.items():
        POSITIVE_INT.check(f"The {name} of a network", size)


def check_cells(genotype: Genotype, names: Sequence[str], inputs: int) -> None:
    """Raise a ValueError unless a genotype has exactly the cells `names`, of so many inputs."""
    found = [f"{cell.name} with {cell.inputs} inputs" for cell in genotype]
    expected = [f"{name} with {inputs} inputs" for name in names]
    if sorted(found) != sorted(expected):
        raise ValueError(
            f"This network is made of the cells {', '.join(expected)}; the genotype has {', '.join(found)}."
        )


class DiscreteNode(nn.Module):
    """The sum over a node's inputs. An input `none` is not built; a node that has no other is zeros.

    Args:
        inputs: What the node sums.
        channels: Of every state.
        strides: Stride of an edge, by its source.
        primitives: The operations that there are.
    """

    def __init__(
        self, inputs: Sequence[Input], channels: int, strides: Sequence[int], primitives: Primitives = PRIMITIVES
    ) -> None:
        super().__init__()
        named = [(primitive(operation, primitives), source) for operation, source in inputs]
        present = [(operation, source) for operation, source in named if not operation.zero] or named[:1]
        self.sources = tuple(source for _, source in present)
        self.operations = nn.ModuleList(
            operation.build(channels, strides[source], True) for operation, source in present
        )
        self.identities = [operation.identity_at_stride_1 and strides[source] == 1 for operation, source in present]

    def forward(self, states: Sequence[Tensor], drop_path_probability: float) -> Tensor:
        """Return `(B, C, H, W)`; with a positive probability the output of each operation but identities drops out."""
        outputs = [operation(states[source]) for operation, source in zip(self.operations, self.sources, strict=True)]
        if drop_path_probability > 0:
            pairs = zip(outputs, self.identities, strict=True)
            outputs = [output if identity else drop_path(output, drop_path_probability) for output, identity in pairs]
        return reduce(torch.add, outputs)


class DiscreteCell(nn.Module):
    """All nodes of a cell. The edges that leave its inputs have the stride, all others stride 1.

    Attributes:
        name: The cell type.
        strides: Of the edges, by their source.
    """

    def __init__(
        self, genotype: CellGenotype, channels: int, stride: int = 1, primitives: Primitives = PRIMITIVES
    ) -> None:
        super().__init__()
        self.name = genotype.name
        self.strides = (stride,) * genotype.inputs + (1,) * len(genotype.nodes)
        self.nodes = nn.ModuleList(DiscreteNode(node, channels, self.strides, primitives) for node in genotype.nodes)

    def forward(self, inputs: Sequence[Tensor], drop_path_probability: float = 0.0) -> list[Tensor]:
        """Return the value of each node, `(B, C, H, W)`."""
        states = list(inputs)
        for node in self.nodes:
            states.append(node(states, drop_path_probability))
        return states[len(inputs) :]
