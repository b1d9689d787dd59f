"""Pictures of finished runs: cells, trajectories of the architecture parameters, strengths of operations.

Every function takes plain data (a genotype, parsed records) and the path of the PNG, and returns that path.
"""
