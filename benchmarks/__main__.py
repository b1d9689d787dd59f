"""`python -m benchmarks NAME ...` runs the benchmark of that name."""

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = (
    *("comparison", "scaling", "profiling", "overhead", "methods"),
    *("retraining", "decisions", "racing", "schedule", "chaos", "gpu", "loading"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return the exit code."""
    lines = [f"  {name:<12}{_summary(name)}" for name in COMMANDS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="`python -m benchmarks NAME --help` lists the options of a benchmark.",
        epilog="\n".join(["benchmarks:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=COMMANDS, metavar="NAME", help="which benchmark")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="its options")
    chosen = parser.parse_args(arguments)

    command = importlib.import_module(f"benchmarks.{chosen.name}")
    own = argparse.ArgumentParser(prog=f"python -m benchmarks {chosen.name}", description=command.__doc__)
    command.add_arguments(own)
    options = own.parse_args(chosen.options)
    try:
        code: int | None = command.run(options)
    except ValueError as error:  # what the user can mend is said in a sentence
        sys.exit(str(error))
    return code or 0


def _summary(name: str) -> str:
    """Return the first line of a command's docstring, without importing it, which takes seconds."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
