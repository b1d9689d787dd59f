"""What stands between a typed command and Hydra: nothing here imports PyTorch, so help and completion come at once.

launch       arguments put in order, Hydra's main run, errors a user can mend shown as a sentence
resolvers    of the configs: `${archselect.NAME:...}` calls the function NAME
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from archselect.distributed.launch import end_with_launcher, errors_in_order, is_main_process, rank_zero_folder
from archselect.genotype import Genotype
from archselect.pipeline.command_help import show_help
from archselect.store.redact_paths import expand, find_runs, override, redact
from archselect.utils.errors import in_a_sentence, stopping_on_signals


def data_name(path: str | None, source: dict[str, Any], fallback: str) -> str:
    """Return a name for the data at `data.path`, or else of `data.source.repository`: two data sets get two names.

    The name is the last part of the path (of a repository: owner and name) and four hexadecimal digits of the SHA-256
    of the whole path and of the source's options, for other columns or splits are another data set: `birds-3f9a`. The
    home folder counts as `~`, so that a name says nothing about whose it is and stays the same for other users. Nothing
    is read: the name is part of the folder that a run is composed for.
    """
    repository = source.get("repository")
    if not path and not repository:
        return fallback
    place = redact(os.path.abspath(expand(path))) if path else str(repository)
    readable = Path(place).name if path else place
    identity = json.dumps([place, source], sort_keys=True, default=str)
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", readable).strip("-.")[:60] or fallback
    return f"{label}-{hashlib.sha256(identity.encode()).hexdigest()[:4]}"


_HOME = re.compile(r"(^|[=,])~(?=/|$)")
_SPECIAL = re.compile(r"[^\w.-]")
_OPERATIONS = re.compile(r"\+*(search_space\.operations)(?=\.\w+=|=\{)")

_composing = True
"""Whether no job has begun, so that an error comes from composing its config."""


def launch(main: Callable[[], Any], check: Callable[[], None] = lambda: None) -> None:
    """Run a Hydra main; show an error that a user can mend as a sentence and leave with exit code 1.

    Ctrl-C and SIGTERM stop it, a sweep with all its jobs. Other errors, and with HYDRA_FULL_ERROR=1 all of them, keep
    their traceback. `check` is called before Hydra writes anything, and raises a `UserError` for what cannot be.
    """
    global _composing
    _composing = True
    known, _ = get_args_parser().parse_known_args(sys.argv[1:])
    if known.help:
        script, own = Path(sys.argv[0]).resolve(), [Path(expand(known.config_dir))] if known.config_dir else []
        for folder in own:
            if not folder.is_dir():
                raise SystemExit(f"There is no folder {folder}. --config-dir names one with choices of your own.")
        show_help(Console(), script.stem, [script.parent / "configs", *own])
        return
    end_with_launcher()
    traceback_wanted = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors on instead of printing tracebacks of its own
    sys.argv[1:] = arranged(sys.argv[1:])
    if not is_main_process():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - to the end of the process
    try:
        with stopping_on_signals(Console(highlight=False)), errors_in_order():
            check()
            main()
    except Exception as error:
        if traceback_wanted or (sentence := in_a_sentence(error, _composing)) is None:
            raise
        sys.stderr.write(f"\nError: {sentence}\n(HYDRA_FULL_ERROR=1 shows the traceback.)\n")
        raise SystemExit(1) from None


def announce(config: DictConfig) -> None:
    """Say that a job begins, before the imports that take seconds."""
    global _composing
    _composing = False
    if "torch" not in sys.modules:
        what = config.name if "name" in config else config.analysis.name if "analysis" in config else config.run
        Console(highlight=False).print(f"{what}: loading PyTorch ...", markup=False, soft_wrap=True)


def arranged(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command as Hydra takes them.

    Flags such as `-m` may stand anywhere, Hydra wants them before the overrides. A home folder is expanded, which not
    every shell does after `=`; the path of something that exists needs no quotation marks of Hydra's grammar.
    """
    arguments = [_HOME.sub(lambda match: match[1] + expand("~"), one) for one in arguments]
    known, rest = get_args_parser().parse_known_args(arguments)
    overrides = [*known.overrides, *(one for one in rest if not one.startswith("-"))]
    flags = [one for one in arguments if one not in overrides]
    return [*flags, *(_quoted(one) for one in arguments if one in overrides)]


def _quoted(argument: str) -> str:
    # OmegaConf makes no mapping of a list: the lists of single cell types are an option beside the list for all.
    key, equals, value = _OPERATIONS.sub(r"++\1_of", argument).partition("=")
    special = _SPECIAL.search(value) is not None  # a name such as `digits` is a choice, even beside a folder `digits`
    pasted = key == "genotype" and ("(" in value or "|" in value) and value[0] not in "\"'"
    return override(key, value) if pasted or (special and os.path.lexists(value)) else f"{key}{equals}{value}"


def evaluation_for(search_space: str, data: str) -> str:
    """Return the evaluation that suits a space and data set where the user names none.

    NAS-Bench-201 cells found on CIFAR are looked up; the DARTS family is retrained at full size on CIFAR-10 and small
    elsewhere.
    """
    if search_space == "nasbench201":
        return "nasbench201" if data in ("cifar10", "cifar100") else "retrain_nasbench201"
    digits = dict.fromkeys(("digits", "digits_rotated", "digits_pairs"), "retrain_digits")
    return {"cifar10": "retrain_cifar10", **digits}.get(data, "retrain_small")


def family(search_space: str, darts: str, nasbench201: str) -> str:
    """Return what an experiment says for a space: the DARTS family and NAS-Bench-201 measure depth differently."""
    return nasbench201 if search_space == "nasbench201" else darts


def method(genotype: str | None, search: str, selection: str) -> str:
    """Return what a run is named after: its search and selection, or the genotype that it was given in their place."""
    if genotype is None:
        return f"{search}-{selection}"
    try:
        return Genotype.parse(expand(str(genotype))).label.replace(" ", "-")
    except (ValueError, OSError):
        return "genotype"  # the run says what is wrong with it


def run_folder(folder: str) -> str:
    """Return the folder of the run in `folder`, or that of all its runs."""
    runs = find_runs(folder)
    return str((runs[0] if len(runs) == 1 else Path(expand(folder))).resolve())


def images_name(images: str) -> str:
    """Return a name for the images that a network is asked about: `test`, or one as `data_name` has it."""
    return images if images == "test" else data_name(images, {}, "images")


def register_resolvers() -> None:
    """Make the resolvers of the configs known; `hydra_plugins` does it wherever Hydra starts."""

    def data_name_beside(fallback: str, *, _parent_: DictConfig) -> str:
        source = cast(dict[str, Any], OmegaConf.to_container(_parent_.source, resolve=True))
        return data_name(None if _parent_.path is None else str(_parent_.path), source, fallback)

    OmegaConf.register_new_resolver("archselect.data_name", data_name_beside, replace=True)
    for resolver in (evaluation_for, family, method, run_folder, images_name, expand, rank_zero_folder):
        OmegaConf.register_new_resolver(f"archselect.{resolver.__name__}", resolver, replace=True)
