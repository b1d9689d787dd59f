"""What every Python process of a command under test imports first: the blows that it is dealt.

`BLOWS` holds a JSON list of them (see `tests.distributed.command.Blow`); `STRUCK_AT` names a file that the first makes.
"""

import functools
import importlib.util
import json
import os
import signal
import sys
import time
from collections import Counter


def _strike(blow, seen):
    if blow["rank"] not in (None, os.environ.get("RANK")) or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return
    seen[blow["function"]] += 1
    if blow["call"] in (None, seen[blow["function"]]):
        if blow["call"] is not None:
            open(os.environ["STRUCK_AT"], "a").close()
        exec(blow["does"], {"os": os, "signal": signal, "time": time})


def _struck(module, blow, seen):
    """Let the function of a blow do that first."""
    *owners, name = blow["function"].partition(":")[2].split(".")
    owner = functools.reduce(getattr, owners, module)
    original = getattr(owner, name)

    @functools.wraps(original)
    def replacement(*args, **kwargs):
        _strike(blow, seen)
        return original(*args, **kwargs)

    setattr(owner, name, replacement)


class Striking:
    """Finds the modules that blows are for, and changes them once they are imported."""

    def __init__(self, blows):
        self.blows = blows

    def find_spec(self, name, path=None, target=None):
        """See `importlib.abc.MetaPathFinder`."""
        mine = [blow for blow in self.blows if blow["function"].partition(":")[0] == name]
        if not mine:
            return None
        self.blows = [blow for blow in self.blows if blow not in mine]
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_strike(module):
            execute(module)
            for blow in mine:
                _struck(module, blow, Counter())

        spec.loader.exec_module = execute_and_strike
        return spec


if "BLOWS" in os.environ:
    sys.meta_path.insert(0, Striking(json.loads(os.environ["BLOWS"])))
