"""`python -m archselect.store verify logs`."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m archselect.store")
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser(
        "verify", help="compute every hash again, read every artifact again, compare runs with their stages"
    )
    verify.add_argument("folder", type=Path, help="the folder that holds stages and runs, e.g. logs")
    options = parser.parse_args(arguments)
    console, errors = Console(highlight=False), Console(stderr=True)
    from archselect.verification import verify as verified  # takes PyTorch: seconds that --help need not wait for

    counted: Counter[str] = Counter()
    wrong = 0
    try:
        for one in verified(options.folder):
            counted[f"{one.what}, {one.state}"] += 1
            wrong += bool(one.problems)
            for problem in one.problems:
                console.print(f"[red]{one.what} {escape(str(one.path))}[/]: {escape(problem)}", soft_wrap=True)
            for note in one.notes:
                console.print(f"[yellow]{one.what} {escape(str(one.path))}[/]: {escape(note)}", soft_wrap=True)
    except OSError as error:
        errors.print(escape(str(error)), style="red")
        return 1
    checked = "; ".join(f"{number} {name}" for name, number in sorted(counted.items()))
    console.print(f"Checked: {checked}. {f'{wrong} with problems' if wrong else 'All are as they were'}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
