"""What finished runs came to: summaries, grids, failures, the paper's numbers."""
