"""What an architecture is, and every form in which it is stored, typed and published."""

from archselect.genotype.genotype import PUBLISHED, CellGenotype, Genotype, Input

__all__ = ["PUBLISHED", "CellGenotype", "Genotype", "Input"]
