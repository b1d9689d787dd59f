"""The supernets of the DARTS family and of NAS-Bench-201, one module per operation: weighted, summed, nothing shared.

Slow and plain on purpose: the supernets of the package must equal these.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from tests.reference.plain_operations import PlainFactorizedReduction, PlainNoise, PlainReLUConvBN, plain_operation
from torch import Tensor, nn

Candidates = Sequence[Sequence[str]]
"""The candidate operations of each edge; edges are numbered by node, then by source."""


def plain_mixture(
    alpha: Tensor,
    candidates: Candidates,
    kept_operations: Mapping[int, int] | None = None,
    dropped_edges: Sequence[int] = (),
) -> Tensor:
    """Return the softmax over each edge's own candidates, one-hot where decided, zero where dropped."""
    rows = []
    for edge, names in enumerate(candidates):
        row = alpha[edge, : len(names)].softmax(0)
        if edge in dropped_edges:
            row = torch.zeros_like(row)
        elif kept_operations and edge in kept_operations:
            row = torch.eye(len(names), dtype=row.dtype)[kept_operations[edge]]
        rows.append(torch.cat([row, row.new_zeros(alpha.shape[1] - len(names))]))
    return torch.stack(rows)


class PlainCell(nn.Module):
    """Every node is the sum over all earlier states and all operations of `weight * operation(state)`.

    An operation of weight zero is not called, so that it sees no statistics, unless `call_all`.
    """

    def __init__(
        self, candidates: Candidates, inputs: int, nodes: int, channels: int, stride: int, pool_norm: bool
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.stride = stride
        self.call_all = False
        self.edges = [(source, node) for node in range(inputs, inputs + nodes) for source in range(node)]
        self.operations = nn.ModuleList(
            nn.ModuleList(
                plain_operation(name, channels, stride if source < inputs else 1, pool_norm)
                for name in candidates[edge]
            )
            for edge, (source, _) in enumerate(self.edges)
        )

    def forward(self, inputs: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
        """Return the nodes."""
        states = list(inputs)
        edge = 0
        for _ in range(max(node for _, node in self.edges) + 1 - self.inputs):
            total = torch.zeros_like(inputs[0][:, :, :: self.stride, :: self.stride])
            for state in states:
                for index, operation in enumerate(self.operations[edge]):
                    if self.call_all or weights[edge, index] != 0:
                        total = total + weights[edge, index] * operation(state)
                edge += 1
            states.append(total)
        return states[self.inputs :]


class PlainDarts(nn.Module):
    """DARTS and S1-S4."""

    def __init__(self, candidates: Mapping[str, Candidates], channels: int, layers: int, classes: int) -> None:
        super().__init__()
        self.stem_conv = nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(3 * channels)
        self.preprocess_0 = nn.ModuleList()
        self.preprocess_1 = nn.ModuleList()
        self.cells = nn.ModuleList()
        self.types: list[str] = []
        widths = [3 * channels, 3 * channels]
        for layer in range(layers):
            reduces = layer in (layers // 3, 2 * layers // 3)
            if reduces:
                channels = 2 * channels
            after_reduction = self.types[-1:] == ["reduction"]
            self.preprocess_0.append(
                PlainFactorizedReduction(widths[-2], channels)
                if after_reduction
                else PlainReLUConvBN(widths[-2], channels, 1)
            )
            self.preprocess_1.append(PlainReLUConvBN(widths[-1], channels, 1))
            self.types.append("reduction" if reduces else "normal")
            self.cells.append(PlainCell(candidates[self.types[-1]], 2, 4, channels, 2 if reduces else 1, True))
            widths.append(4 * channels)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the logits."""
        outputs = [self.stem_norm(self.stem_conv(x))] * 2
        for layer, cell in enumerate(self.cells):
            inputs = [self.preprocess_0[layer](outputs[-2]), self.preprocess_1[layer](outputs[-1])]
            outputs.append(torch.cat(cell(inputs, weights[self.types[layer]]), dim=1))
        return self.classifier(outputs[-1].mean(3).mean(2))


class PlainResidual(nn.Module):
    """Between the stages of NAS-Bench-201: stride 2, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = PlainReLUConvBN(channels, 2 * channels, 3, stride=2, affine=True)
        self.second = PlainReLUConvBN(2 * channels, 2 * channels, 3, affine=True)
        self.pool = nn.AvgPool2d(2)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(self.pool(x)) + self.second(self.first(x))


class PlainNASBench201(nn.Module):
    """NAS-Bench-201; `cells` holds the mixed cells, `residuals` the blocks before the second and the third stage."""

    def __init__(self, candidates: Mapping[str, Candidates], channels: int, cells_per_stage: int, classes: int) -> None:
        super().__init__()
        self.cells_per_stage = cells_per_stage
        self.stem_conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(channels)
        self.residuals = nn.ModuleList([PlainResidual(channels), PlainResidual(2 * channels)])
        self.cells = nn.ModuleList(
            PlainCell(candidates["cell"], 1, 3, channels * 2**stage, 1, False)
            for stage in range(3)
            for _ in range(cells_per_stage)
        )
        self.types = ["cell"] * len(self.cells)
        self.last_norm = nn.BatchNorm2d(4 * channels)
        self.classifier = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the logits."""
        x = self.stem_norm(self.stem_conv(x))
        for layer, cell in enumerate(self.cells):
            if layer in (self.cells_per_stage, 2 * self.cells_per_stage):
                x = self.residuals[layer // self.cells_per_stage - 1](x)
            x = cell([x], weights["cell"])[-1]
        return self.classifier(torch.relu(self.last_norm(x)).mean(3).mean(2))


def replay_noise(plain: nn.Module, weights: Mapping[str, Tensor], drawn: Iterable[Tensor]) -> None:
    """Give the noise operations what a supernet drew: cell by cell, source by source, edge by edge."""
    drawn = iter(drawn)
    for name, cell in zip(plain.types, plain.cells, strict=True):
        for edge in sorted(range(len(cell.edges)), key=lambda edge: cell.edges[edge][0]):
            for index, operation in enumerate(cell.operations[edge]):
                if isinstance(operation, PlainNoise) and weights[name][edge, index] != 0:
                    operation.drawn = next(drawn).contiguous()
    assert next(drawn, None) is None, "more noise was drawn than there are edges with noise"
