"""What a network costs: parameters, multiply-accumulates and activations are counted, time is measured."""

from archselect.costs.count import Costs, count

__all__ = ["Costs", "count"]
