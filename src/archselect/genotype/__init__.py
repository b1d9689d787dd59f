"""What an architecture is, and every form in which it is stored, typed and published."""

from archselect.genotype.cell import CellGenotype, Input
from archselect.genotype.genotype import PUBLISHED, Genotype

__all__ = ["PUBLISHED", "CellGenotype", "Genotype", "Input"]
