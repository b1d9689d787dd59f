"""A discrete network with the weights of a supernet: what the supernet computes with one-hot mixture weights."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.genotype import CellGenotype, Genotype
from archselect.models.discrete.network import DiscreteCell, DiscreteNode
from archselect.models.ops.contract import affine_norms
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixed_ops import OwnModules, Pool, StackedOperation
from archselect.models.supernet.relaxation import SupernetOptions
from archselect.models.supernet.stacked_parameters import StackedBatchNorm, StackedWeight

Pairs = Iterable[tuple[nn.Module, nn.Module]]
"""A part of a supernet and the part of a discrete network that stands for it."""


def check_inheritable(variant: SupernetOptions) -> None:
    """Raise a ValueError for a supernet whose cells do more than weight operations, which discrete cells do not."""
    more = {
        f"partial_channels={variant.partial_channels}": variant.partial_channels > 1,
        f"edge_normalization={variant.edge_normalization}": variant.edge_normalization != "none",
    }
    if wrong := [option for option, is_on in more.items() if is_on]:
        raise ValueError(
            f"A discrete network cannot compute what this supernet computes: it was searched with search.{wrong[0]}, "
            "which no discrete network has. Take supernet.network(genotype, inherit=False), and train it."
        )


def inherit_weights(pairs: Pairs, genotype: Genotype) -> None:
    """Give the parts of a discrete network of `genotype` the weights and statistics of a supernet's.

    Where the supernet normalises without a scale and shift of its own, those of the network are 1 and 0. Where it
    normalises after pooling, the network does too from here on.
    """
    for own, plain in pairs:
        if isinstance(own, MixedCell):
            _inherit_cell(own, cast(DiscreteCell, plain), genotype.cell(own.space.name))
        else:
            _copy(own, plain)


def _inherit_cell(own: MixedCell, plain: DiscreteCell, genotype: CellGenotype) -> None:
    topology = own.space.topology
    for state, node, inputs in zip(topology.node_states, plain.nodes, genotype.nodes, strict=True):
        assert isinstance(node, DiscreteNode)
        names = {source: operation for operation, source in inputs}
        for index, source in enumerate(node.sources):
            operations = cast(nn.ModuleDict, own.operations[source])
            if (name := names[source]) not in operations:  # `none`
                continue
            edge = topology.edges.index((source, state))
            operation = cast(StackedOperation, operations[name])
            if isinstance(operation, Pool) and isinstance(operation.norm, StackedBatchNorm):
                norm = BatchNorm2d(operation.norm.num_features, affine=False).to(operation.norm.running_mean)
                node.operations[index] = nn.Sequential(node.operations[index], norm)
            _copy_edge(operation, own.space.stacks(source)[name].index(edge), node.operations[index])


def _copy_edge(operation: StackedOperation, position: int, plain: nn.Module) -> None:
    """Copy what an operation has on one edge; its weights and normalisations come in the order of the plain ones."""
    if isinstance(operation, OwnModules):
        _copy(operation.edges[position], plain)
        return
    own = [part for part in operation.modules() if isinstance(part, StackedWeight | StackedBatchNorm)]
    parts = [part for part in plain.modules() if isinstance(part, nn.Conv2d | BatchNorm2d)]
    for stacked, part in zip(own, parts, strict=True):
        for name in ("weight",) if isinstance(stacked, StackedWeight) else ("running_mean", "running_var"):
            whole = getattr(stacked, name)
            shared = isinstance(operation, Pool)  # its normalisation is the same on every edge
            value = whole if shared else whole.chunk(stacked.edges)[position]
            with torch.no_grad():
                getattr(part, name).copy_(value)


def _copy(own: nn.Module, plain: nn.Module) -> None:
    """Copy all but the scale and shift of normalisations, which are as new; of one's own, `contract` sees to that."""
    missing, unexpected = plain.load_state_dict(own.state_dict(), strict=False)
    assert not unexpected and {name.rpartition(".")[0] for name in missing} <= set(affine_norms(plain))
