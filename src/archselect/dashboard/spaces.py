"""The search spaces whose panels are wanted, from their YAML files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from archselect.spaces import SearchSpace

CONFIGS = Path(__file__).parents[3] / "configs"
"""The folder of this repository."""


def describe_spaces(names: Sequence[str] | None, own: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return the descriptions of search spaces, `SearchSpace.describe()`, by name.

    Args:
        names: Of files in `search_space/`; `None`: all.
        own: A folder of configs beside this repository's, as `--config-dir` of `train.py`.

    Raises:
        ValueError: There is no such space or folder, or a file does not describe a space.
    """
    if own is not None and not (own / "search_space").is_dir():
        raise ValueError(f"--config-dir must be a folder with search_space/*.yaml in it; {own} is not.")
    folders = [CONFIGS, *([] if own is None else [own])]
    files = {file.stem: file for folder in folders for file in sorted((folder / "search_space").glob("*.yaml"))}
    if not files:
        raise ValueError(
            f"There is no search space in {CONFIGS}; archselect is installed from its repository, where the configs "
            "are: pip install -e ."
        )
    unknown = [name for name in names or () if name not in files]
    if unknown:
        raise ValueError(
            f"There is no search space {unknown[0]!r}; there are {', '.join(sorted(files))}. Spaces of your own lie in "
            "a folder that --config-dir names."
        )
    found = [_space(files[name]) for name in names or files]
    return {space.name: space.describe() for space in found}


def _space(file: Path) -> SearchSpace:
    try:
        space = instantiate(OmegaConf.load(file), _convert_="all")
    except (InstantiationException, OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{file} does not describe a search space: {error.__cause__ or error}") from error
    if not isinstance(space, SearchSpace):
        raise ValueError(
            f"{file} does not describe a search space: _target_ must name one, as in configs/search_space."
        )
    return space
