"""Networks of the smallest size, for tests that vary something else."""

from typing import Any

from archselect.genotype import CellGenotype, Genotype, Input
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.nasbench201 import NASBench201Supernet

NASBENCH201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
TYPES = ("normal", "reduction")


def discrete() -> DartsNetwork:
    first = Input("skip_connect", 0), Input("sep_conv_3x3", 1)
    second = Input("dil_conv_5x5", 1), Input("max_pool_3x3", 2)
    genotype = Genotype(tuple(CellGenotype(name, 2, (first, second)) for name in TYPES))
    return DartsNetwork(genotype, channels=4, layers=2, classes=5)


def darts(
    names: tuple[str, ...] = ("skip_connect", "sep_conv_3x3", "max_pool_3x3"), channels: int = 4, **options: Any
) -> DartsSupernet:
    topology = CellTopology(2, 2, "concat", 2)
    cells = {name: CellSpace(name, topology, (names,) * 5) for name in TYPES}
    return DartsSupernet(cells, channels, layers=3, classes=5, **{"alpha_scale": 0.5, **options})


def nasbench201() -> NASBench201Supernet:
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (NASBENCH201,) * 3)
    return NASBench201Supernet({"cell": space}, 4, 1, 5, alpha_scale=0.5)
