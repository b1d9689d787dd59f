"""Differentiable architecture search whose point is the selection step.

The public API. A name is imported when it is first used: `import archselect` needs no PyTorch.

genotypes    `Genotype`, and `PUBLISHED`, those of the papers by their names in the authors' code
spaces       `DartsSpace`, `NASBench201Space`, and what is known of the latter's cells: `NASBench201Table`;
             `Operation`, a candidate operation of one's own
supernets    `Supernet`, which a space makes and `load_supernet` reads
runs         `train` makes one; `open_run`, `load_network`, `load_supernet`, `load_genotype` read one
analyses     `analyze` looks at one

Example:
    >>> import archselect
    >>> archselect.PUBLISHED["DARTS_V2"].cell("normal").nodes[0]
    (Input(operation='sep_conv_3x3', source=0), Input(operation='sep_conv_3x3', source=1))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archselect.analysis import look as analyze
    from archselect.deployment import load_network
    from archselect.evaluation import NASBench201Table
    from archselect.genotype import PUBLISHED, Genotype
    from archselect.models.ops.own import Operation
    from archselect.models.supernet.supernet import Supernet
    from archselect.pipeline.finished_run import load_genotype, load_supernet, open_run
    from archselect.pipeline.run import train
    from archselect.search_spaces import DartsSpace, NASBench201Space

__all__ = [
    "PUBLISHED",
    "DartsSpace",
    "Genotype",
    "NASBench201Space",
    "NASBench201Table",
    "Operation",
    "Supernet",
    "analyze",
    "load_genotype",
    "load_network",
    "load_supernet",
    "open_run",
    "train",
]

_HOMES = {
    "analyze": "archselect.analysis:look",
    "NASBench201Table": "archselect.evaluation:NASBench201Table",
    "PUBLISHED": "archselect.genotype:PUBLISHED",
    "Genotype": "archselect.genotype:Genotype",
    "Operation": "archselect.models.ops.own:Operation",
    "Supernet": "archselect.models.supernet.supernet:Supernet",
    "load_genotype": "archselect.pipeline.finished_run:load_genotype",
    "load_network": "archselect.deployment:load_network",
    "load_supernet": "archselect.pipeline.finished_run:load_supernet",
    "open_run": "archselect.pipeline.finished_run:open_run",
    "train": "archselect.pipeline.run:train",
    "DartsSpace": "archselect.search_spaces:DartsSpace",
    "NASBench201Space": "archselect.search_spaces:NASBench201Space",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'archselect' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
