"""Pictures of finished runs: cells, trajectories of the architecture parameters, strengths of operations.

Every drawing function takes plain data (a genotype, parsed records) and returns a figure; `style.save` writes it.
"""
