"""The nodes of a cell as a genotype has them, in whatever network."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from archselect.genotype import CellGenotype, Input
from archselect.networks.drop_path import drop_path
from archselect.operations import build_operation, primitive


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
