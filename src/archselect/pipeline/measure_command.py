"""`python -m archselect.costs measure`: a table of latencies for searches and selections under a limit."""

import argparse
from collections.abc import Sequence

from rich.console import Console

from archselect.costs.expected import operations_at
from archselect.costs.latency_table import NANOSECONDS, measure_latencies
from archselect.pipeline.config import as_user_error, check_groups, instantiate_parts
from archselect.pipeline.costs_command import carry_out, composed, device_named, split
from archselect.pipeline.limits import judged_skeleton
from archselect.utils.validation import POSITIVE_FLOAT, POSITIVE_INT

EXAMPLES = """
examples:
  python -m archselect.costs measure search_space=s2 data.path=FOLDER
  python -m archselect.costs measure experiment=quickstart batch=64 device=cpu file=latencies-64.json
then, with the options of the same run:
  python train.py experiment=quickstart selection.limit.latency_ms=3 selection.limit.latency_table=latencies.json
"""

DEFAULTS = {"file": "latencies.json", "batch": "1", "seconds": "0.2"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.costs measure",
        description="Measure every operation of a search space wherever the network of a run's evaluation has it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options = "as of train.py, and file=latencies.json batch=1 seconds=0.2 (per operation) device=cpu"
    parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help=options)
    return carry_out(measure, parser, arguments)


def measure(given: argparse.Namespace) -> None:
    """Measure what the options describe, write the table and say how its sum compares with a whole network."""
    typed, overrides = split(given.overrides, [*DEFAULTS, "device"], "batch=64")
    own, config = DEFAULTS | typed, composed(overrides, given.configs, given.config_dir)
    batch, seconds = _number("batch", own["batch"]), _number("seconds", own["seconds"])
    with as_user_error():
        POSITIVE_INT.check("batch", batch)
        POSITIVE_FLOAT.check("seconds", seconds)
    device = device_named(own.get("device"))
    check_groups(config)
    parts, console = instantiate_parts(config), Console(highlight=False)
    skeleton = judged_skeleton(parts)
    count = len(operations_at(skeleton))
    console.print(f"measuring {count} operations and two networks, about {(count + 2) * seconds:.0f} s on {device}")
    table = measure_latencies(skeleton, device, int(batch), seconds)
    table.write(own["file"])
    summed, whole = (table.check[name] / NANOSECONDS for name in ("sum_ns", "measured_ns"))
    lines = [
        f"{own['file']}: {count} operations of {parts.space.name}, batches of {batch}, {table.how['device']}",
        f"a network of them takes {whole:.3g} ms; by the table {summed:.3g} ms, {table.check['ratio']:.2f} of it",
    ]
    console.print("\n".join(lines), soft_wrap=True)


def _number(name: str, text: str) -> float:
    """Return a number as typed, whole where it is."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number; got {text!r}.") from None
