"""Training: a fit, its checkpoints, its step, its devices."""
