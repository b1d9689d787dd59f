"""`python -m tests.chaos --kills 100`: prints what was killed where, and whether anything was lost."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tests.chaos.commands import COMMANDS
from tests.chaos.harness import MOMENTS, SIGNALS, Harness, Trial, trials


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all (%(default)s)")
    parser.add_argument("--per-trial", type=int, default=10, help="of one run before it may end (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; times differ from machine to machine")
    parser.add_argument("--only", choices=COMMANDS, action="append", help="of the commands (default: all)")
    options = parser.parse_args(arguments)
    console, started = Console(highlight=False, markup=False, soft_wrap=True), time.monotonic()
    chance = random.Random(options.seed)
    made: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        harnesses = []
        for name in options.only or COMMANDS:
            harnesses.append(Harness(name, COMMANDS[name], Path(folder) / name.replace(" ", "-"), chance))
            console.print(f"{name}: undisturbed in {sum(harnesses[-1].seconds.values()):.0f} s")
        for trial in trials(harnesses, options.kills, options.per_trial):
            made.append(trial)
            console.print(f"{trial.name}: {len(trial.kills)} kills, {trial.lost or 'the same to the last bit'}")
    console.print(table(made))
    console.print(f"{time.monotonic() - started:.0f} s in all.")
    return 1 if any(trial.lost for trial in made) else 0


def table(made: Sequence[Trial]) -> str:
    """Return how many kills there were, by moment and signal, and what became of the runs, as Markdown."""
    counted = Counter((kill.moment, kill.signal) for trial in made for kill in trial.kills)
    lines = [
        f"| killed at | {' | '.join(signal.name for signal in SIGNALS)} |",
        "|---|" + "---|" * len(SIGNALS),
        *(f"| {moment} | {' | '.join(str(counted[moment, signal]) for signal in SIGNALS)} |" for moment in MOMENTS),
        "",
        "| command | runs | kills | equal to the undisturbed run | lost |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(trial.name for trial in made):
        own = [trial for trial in made if trial.name == name]
        kills, lost = sum(len(trial.kills) for trial in own), sum(trial.lost is not None for trial in own)
        lines.append(f"| {name} | {len(own)} | {kills} | {len(own) - lost} | {lost} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
