"""Differentiable architecture search whose point is the selection step."""
