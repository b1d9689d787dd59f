"""Networks: the topology of a cell, the supernet, the discrete networks."""
