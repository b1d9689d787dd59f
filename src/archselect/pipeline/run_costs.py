"""What the network of a run costs: that which its evaluation judges; of evaluation=none, one as large as the supernet.

Costs are kept in the folder `costs` of the results, beside the stages, so that a command typed again says the same.
"""

from typing import Any

import torch
from omegaconf import DictConfig

from archselect.costs.cache import CostOptions, cached_costs, costs_of
from archselect.costs.latency import describe_device
from archselect.genotype import Genotype
from archselect.pipeline.config import folder_label, to_plain_dict
from archselect.pipeline.plan import Plan
from archselect.training.devices import for_this_process
from archselect.training.progress import warn


def cost_options(config: DictConfig) -> CostOptions:
    """Return the options `costs` of a run; a ValueError says which makes no sense."""
    return CostOptions(**to_plain_dict(config.costs))


def costs_of_run(plan: Plan, genotype: Genotype) -> dict[str, Any]:
    """Return what the summary says of the costs: `costs.NAME`.

    A network whose costs cannot be counted or measured is no reason to lose a run: a warning says why there are none.
    """
    parts, options = plan.parts, cost_options(plan.config)
    device = for_this_process(parts.trainer).strategy.root_device
    identity = {"network": plan.judged(genotype), "latency": options.latency}
    if options.latency:
        identity |= {"seconds": options.seconds, "device": describe_device(device)}

    def measure() -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            network = parts.evaluation.judged_network(parts.space, genotype, parts.data, plan.job.outputs)
        return costs_of(network, parts.evaluation.judged_image_size(parts.data), network.in_channels, device, options)

    label = folder_label(parts.space.name, parts.evaluation.name)
    try:
        found = cached_costs(plan.job.store.root / "costs", label, identity, measure)
    except (RuntimeError, TypeError, ValueError) as error:
        warn(plan.job.console, "costs", f"the costs of the network are not known: {error}")
        return {}
    return {f"costs.{name}": value for name, value in found.items()}
