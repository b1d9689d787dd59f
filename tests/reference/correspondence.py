"""Which tensors of a supernet are which tensors of its plain counterpart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from tests.reference.plain_supernet import Candidates, PlainDarts, PlainNASBench201
from torch import Tensor, nn

from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet
from archselect.search_spaces import DartsSpace, NASBench201Space, SearchSpace


@dataclass(frozen=True)
class Pair:
    """A parameter or statistic of a supernet and its parts in the plain modules that stand for it.

    The parts are stacked in the supernet, or (what follows a pooling) one tensor serves all edges out of a source.
    """

    name: str
    stacked: Tensor
    parts: tuple[Tensor, ...]
    modules: tuple[nn.Module, ...]

    @property
    def shared(self) -> bool:
        return len(self.parts) > 1 and self.stacked.numel() == self.parts[0].numel()

    def copy_to_plain(self) -> None:
        with torch.no_grad():
            chunks = [self.stacked] * len(self.parts) if self.shared else self.stacked.chunk(len(self.parts))
            for part, chunk in zip(self.parts, chunks, strict=True):
                part.copy_(chunk)

    def plain_value(self) -> Tensor:
        """Return the parts as the supernet holds them; of a shared statistic, that of the edges that were evaluated."""
        if not self.shared:
            return torch.cat(self.parts)
        evaluated = [
            part
            for part, module in zip(self.parts, self.modules, strict=True)
            if any(name.endswith("num_batches_tracked") and count > 0 for name, count in module.named_buffers())
        ]
        for part in evaluated[1:]:
            torch.testing.assert_close(part, evaluated[0])
        return (evaluated or self.parts)[0]


def plain_counterpart(space: SearchSpace, supernet: Supernet) -> tuple[PlainDarts | PlainNASBench201, list[Pair]]:
    """Return the plain supernet that holds the weights and statistics of `supernet`, and the pairs of their tensors."""
    candidates = {name: cell.operations for name, cell in space.cells.items()}
    classes = supernet.classifier.out_features
    if isinstance(space, DartsSpace):
        plain = PlainDarts(candidates, space.channels, space.layers, classes)
    elif isinstance(space, NASBench201Space):
        plain = PlainNASBench201(candidates, space.channels, space.cells_per_stage, classes)
    else:
        raise AssertionError(type(space))
    plain.to(supernet.classifier.weight.dtype)
    pairs = list(_pairs(supernet, plain, candidates))
    claimed = {id(part) for pair in pairs for part in pair.parts}
    assert all(id(tensor) in claimed for _, tensor in _tensors(plain)), "a tensor of the plain supernet has no pair"
    held = {id(pair.stacked) for pair in pairs}
    rest = [name for name, tensor in _tensors(supernet) if id(tensor) not in held]
    assert sorted(rest) == sorted(f"alphas.{name}" for name in candidates), rest
    for pair in pairs:
        pair.copy_to_plain()
    return plain, pairs


def _pairs(
    supernet: Supernet, plain: PlainDarts | PlainNASBench201, candidates: Mapping[str, Candidates]
) -> Iterator[Pair]:
    yield from _in_order("stem", supernet.stem, [nn.Sequential(plain.stem_conv, plain.stem_norm)])
    yield from _in_order("classifier", supernet.classifier, [plain.classifier])
    if isinstance(supernet, DartsSupernet):
        cells = list(supernet.cells)
        for layer, (first, second) in enumerate(supernet.preprocess):
            yield from _in_order(f"preprocess.{layer}.0", first, [plain.preprocess_0[layer]])
            yield from _in_order(f"preprocess.{layer}.1", second, [plain.preprocess_1[layer]])
    else:
        assert isinstance(supernet, NASBench201Supernet)
        yield from _in_order("last", supernet.last, [plain.last_norm])
        cells = [block for block in supernet.blocks if isinstance(block, MixedCell)]
        residuals = [block for block in supernet.blocks if not isinstance(block, MixedCell)]
        for stage, (block, counterpart) in enumerate(zip(residuals, plain.residuals, strict=True)):
            yield from _in_order(f"residual.{stage}", block, [counterpart])
    for layer, (cell, counterpart, cell_type) in enumerate(zip(cells, plain.cells, plain.types, strict=True)):
        names = candidates[cell_type]
        for source, operations in enumerate(cell.operations):
            for name, operation in operations.items():
                edges = [
                    edge for edge, (start, _) in enumerate(counterpart.edges) if start == source and name in names[edge]
                ]
                modules = [counterpart.operations[edge][names[edge].index(name)] for edge in edges]
                yield from _in_order(f"cells.{layer}.{source}.{name}", operation, modules)


def _in_order(name: str, stacked: nn.Module, modules: list[nn.Module]) -> Iterator[Pair]:
    """Both sides define their tensors in the same order: convolution, shifted or pointwise convolution, norm."""
    parts = [[tensor for _, tensor in _tensors(module)] for module in modules]
    for (path, tensor), *counterparts in zip(_tensors(stacked), *parts, strict=True):
        yield Pair(f"{name}.{path}", tensor, tuple(counterparts), tuple(modules))


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return parameters and running statistics."""
    return [
        (name, tensor)
        for name, tensor in module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    ]
