"""Trained networks in use: loaded from their run, asked about images, written for other programs."""

from archselect.deployment.loading import load_network
from archselect.deployment.network import TrainedNetwork

__all__ = ["TrainedNetwork", "load_network"]
