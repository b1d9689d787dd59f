"""How much memory the stages of a plan take that are still to be made, beside what the device has."""

from collections.abc import Mapping

import torch
from torch import Tensor

from archselect.costs.training_memory import TrainingMemory, training_memory
from archselect.evaluation import Retraining
from archselect.models.cell_space import CellDecisions
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.plan import Plan, image_counts, is_long
from archselect.results.formatting import size
from archselect.search import SearchMethod, Unrolled
from archselect.store.key import Kind
from archselect.training.devices import for_this_process, process_count
from archselect.training.fit import MEMORY
from archselect.training.progress import warn
from archselect.utils.console import print_titled
from archselect.utils.memory import total_memory


def show_memory(plan: Plan) -> None:
    """Show what the training of the plan's networks takes, and warn where that is more than there is.

    A plan of minutes meets it within these.
    """
    if not is_long(to_do := image_counts(plan)):
        return
    console, device = plan.job.console, for_this_process(plan.parts.trainer).strategy.root_device
    try:
        needed = memory_of(plan, to_do)
    except RuntimeError as error:  # an operation of a user's own looks at values
        warn(console, "memory", f"what a step takes is not known: {error}")
        return
    there = _memory_of(device)
    words = [
        f"{kind} {size(one.total)} (activations {size(one.activations)}, weights {size(one.network)}, optimizer "
        f"{size(one.optimizer)})"
        for kind, one in needed.items()
    ]
    at_most = " at most, since the compiled loops keep less" if device.type == "cpu" else ""
    said = f"A training step takes this memory{at_most}: {', '.join(words)}; {device} has {size(there)}."
    print_titled(console, "memory", said)
    for kind, one in needed.items():
        if one.total > there:
            warn(console, kind, f"it may need more memory than {device} has, {size(there)}: {MEMORY[kind]}")


def memory_of(plan: Plan, to_do: Mapping[Kind, float]) -> dict[Kind, TrainingMemory]:
    """Return what a step takes of each stage that trains a network on some images.

    A selection tunes the network of the search, by its steps.
    """
    parts, found = plan.parts, dict[Kind, TrainingMemory]()
    if to_do.get("search") or to_do.get("selection"):
        found["search" if to_do.get("search") else "selection"] = of_search(plan, parts.search)
    if to_do.get("evaluation") and isinstance(parts.evaluation, Retraining):
        found["evaluation"] = of_retraining(plan, parts.evaluation)
    return found


def of_search(plan: Plan, method: SearchMethod) -> TrainingMemory:
    """Return what a step of the supernet takes: that of the weights, which keeps more than that of `alpha`.

    An unrolled step takes the gradients in both at once. Where one operation is drawn per edge, all candidates are
    drawn here in turn.
    """
    job, space = plan.job, plan.parts.space
    unrolled = isinstance(method.architecture_gradient, Unrolled)
    with torch.device("meta"):
        supernet = space.supernet(job.data.image_size, job.outputs, method.variant, job.data.channels)
        supernet.recompute = method.recompute
        if method.relaxation.sparse:
            supernet.decisions = _candidates_in_turn(supernet)

    def evaluate(images: Tensor) -> Tensor:
        weights = supernet.mixture_weights()
        return supernet(images, weights if unrolled else weights.detach())

    return training_memory(supernet, evaluate, _batch(plan, method), method.weight_optimizer, method.recompute)


def of_retraining(plan: Plan, protocol: Retraining) -> TrainingMemory:
    """Return what a step of the retraining takes, of an example while the architecture is not known."""
    job, parts = plan.job, plan.parts
    with torch.device("meta"):
        network = protocol.judged_network(parts.space, parts.genotype or parts.space.example(), job.data, job.outputs)

    def evaluate(images: Tensor) -> Tensor:
        outputs, auxiliary = network.forward_with_auxiliary(images)
        return outputs if auxiliary is None else outputs + auxiliary

    return training_memory(network, evaluate, _batch(plan, protocol), protocol.optimizer)


def _batch(plan: Plan, protocol: SearchMethod | Retraining) -> tuple[int, int, int, int]:
    """Return the shape of the batch of one process."""
    data, processes = plan.job.data, process_count(plan.parts.trainer)
    images = -(-min(protocol.batch_size, len(data.train.labels)) // processes)
    return images, data.channels, data.image_size, data.image_size


def _candidates_in_turn(supernet: Supernet) -> Mapping[str, CellDecisions]:
    decisions = dict(supernet.decisions)
    for name, cell in supernet.cell_spaces.items():
        for edge in decisions[name].undecided_edges:
            decisions[name] = decisions[name].keep_operation(edge, edge % len(cell.operations[edge]))
    return decisions


def _memory_of(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return total_memory()
