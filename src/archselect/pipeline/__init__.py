"""A run from its config to its summary: plan, checks before it starts, stages, loggers, and reading it back."""
