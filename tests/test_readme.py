"""What the README shows works: its own space and selection run, its commands compose, its tables name what there is."""

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image
from tests.command import CONFIGS, TRAIN, train

from archselect.evaluation import NASBench201Lookup
from archselect.genotype import Genotype
from archselect.models.ops import PRIMITIVES
from archselect.pipeline.command_line import register_resolvers
from archselect.pipeline.config import instantiate_parts
from archselect.pipeline.preflight import check

REPOSITORY = TRAIN.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(*languages: str) -> list[str]:
    """Return the code blocks in these languages."""
    return [
        code for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S) if language in languages
    ]


@dataclass(frozen=True)
class Command:
    """A line that starts `train.py`."""

    pythonpath: str | None
    multirun: bool
    config_dir: str | None
    overrides: tuple[str, ...]


def commands() -> list[Command]:
    """Return the commands that start a run, in order."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        variables, python, rest = line.partition("python train.py ")
        if not python:
            continue
        words = shlex.split(rest, comments=True)
        config_dir = words[words.index("--config-dir") + 1] if "--config-dir" in words else None
        overrides = tuple(word for word in words if "=" in word and not word.startswith("-"))
        pythonpath = re.fullmatch(r"PYTHONPATH=(\S+) ", variables)
        found.append(Command(pythonpath and pythonpath[1], "-m" in words, config_dir, overrides))
    return found


COMMANDS = commands()
OWN = [command for command in COMMANDS if command.config_dir]


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write every block that opens with the name of its file into a folder, and go there."""
    for block in blocks("yaml", "python"):
        name = re.match(r"# (\S+/?\S+\.(?:yaml|py))\n", block)
        assert name, f"a block without the name of its file:\n{block}"
        file = tmp_path / name[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- A space and a selection method of one's own. ---


@pytest.mark.parametrize("command", OWN, ids=lambda command: command.overrides[-1])
def test_an_example_of_ones_own_runs_as_it_stands(
    command: Command, own_files: Path, monkeypatch: pytest.MonkeyPatch, logs: str, no_figures: None
) -> None:
    if command.pythonpath:
        monkeypatch.syspath_prepend(str(own_files / command.pythonpath))
    assert command.config_dir and command.overrides[0] == "experiment=quickstart"
    small = ["protocol.epochs_between=0", "evaluation=none", logs]
    run = train("--config-dir", command.config_dir, "experiment=tiny", *command.overrides[1:], *small)
    for choice in command.overrides[1:]:
        group, member = choice.split("=")
        assert run.summary[group] == member
    run.parts.space.check(Genotype.from_text(run.summary["genotype"]))


def test_both_examples_are_there() -> None:
    assert [command.overrides[-1] for command in OWN] == ["search_space=separable", "selection=per_weight"]


def test_the_selection_of_ones_own_keeps_what_harms_most_for_its_weight(
    own_files: Path, monkeypatch: pytest.MonkeyPatch, logs: str, no_figures: None
) -> None:
    monkeypatch.syspath_prepend(str(own_files))
    run = train("--config-dir", "my_configs", "experiment=tiny", "selection=per_weight", "evaluation=none", logs)
    alpha = run.history("search")[-1]["alpha"]
    decisions = [record for record in run.decisions() if record["kind"] == "operation"]
    assert len(decisions) == 28
    for decision in decisions:
        weights = alpha[decision["cell"]][decision["edge"]]
        harm = [score["loss"] - decision["unmasked"]["loss"] for score in decision["scores"]]
        per_weight = [loss / weight for loss, weight in zip(harm, weights, strict=True)]
        assert decision["candidates"].index(decision["kept"]) == per_weight.index(max(per_weight))


def test_the_space_of_ones_own_is_not_part_of_the_package(own_files: Path) -> None:
    files = [file.relative_to(own_files / "my_configs") for file in own_files.rglob("*.yaml")]
    assert len(files) == 2
    assert not any((CONFIGS / file).exists() for file in files)


# --- The commands. ---


@pytest.fixture
def hydra() -> Iterator[None]:
    register_resolvers()
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield
    HydraConfig.instance().cfg = before


def jobs(command: Command) -> list[list[str]]:
    """Return the overrides of every job of a command."""
    parsed = OverridesParser.create().parse_overrides(list(command.overrides))
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line]
        for override in parsed
    ]
    return [list(job) for job in itertools.product(*choices)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.overrides))
def test_a_command_composes_to_parts_that_go_together(
    command: Command, own_files: Path, monkeypatch: pytest.MonkeyPatch, hydra: None
) -> None:
    monkeypatch.syspath_prepend(str(own_files))
    for folder in (f"{split}/{name}" for split in ("train", "training") for name in ("cat", "dog")):
        (own_files / "FOLDER" / folder).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(own_files / "FOLDER" / folder / "0.png")
    more = [f"hydra.searchpath=[file://{own_files / command.config_dir}]"] if command.config_dir else []
    apart = "glob" in command.overrides[0] or "hparams_search" in command.overrides[0]
    made = [] if apart else jobs(command)  # the grid and searches over options have tests of their own
    assert (len(made) > 1) == command.multirun or not made
    for job in made:
        config = compose("train", [*job, *more], return_hydra_config=True)
        config.hydra.runtime.output_dir = str(own_files)
        HydraConfig.instance().set_config(config)
        parts = instantiate_parts(config)
        if isinstance(parts.evaluation, NASBench201Lookup) and parts.evaluation.table is not None:
            continue  # the table is the reader's
        with mock.patch(
            "archselect.pipeline.preflight.check_trainer", return_value=torch.device("cuda")
        ):  # a machine without a GPU cannot make trainer=gpu
            check(parts)


def test_the_commands_for_several_devices_compose(hydra: None) -> None:
    text = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8").partition("## One run on several devices")[2]
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text.partition("\n## ")[0], re.M | re.S)).replace("\\\n", " ")
    typed = [shlex.split(line.partition(" train.py ")[2]) for line in shell.splitlines() if " train.py " in line]
    assert len(typed) == 5
    for words in typed:
        overrides = [word.partition(",")[0] for word in words if word != "-m"]
        config = compose("train", overrides, return_hydra_config=True)
        assert config.search_space.name == "darts" and config.trainer.accelerator == "gpu"


def test_the_sweep_makes_as_many_jobs_and_supernets_as_it_says() -> None:
    sweep = next(command for command in COMMANDS if "search_space=s1,s2" in command.overrides)
    made = jobs(sweep)
    supernets = {tuple(override for override in job if not override.startswith("selection=")) for job in made}
    assert f"trains {spelled(len(supernets))} supernets for its {spelled(len(made))} jobs" in README


def spelled(number: int) -> str:
    return {8: "eight", 16: "sixteen"}[number]


# --- The tables and the layout. ---


TABLES = {"search": "Search methods", "selection": "Selections"}


@pytest.mark.parametrize("group", sorted(folder.name for folder in CONFIGS.iterdir() if folder.is_dir()))
def test_the_table_of_groups_names_every_choice_and_no_other(group: str) -> None:
    if group == "hydra":  # where runs lie, not a choice
        return
    choices, _, _ = README.partition("### Options of `selection=perturb`")
    files = {file.stem for file in (CONFIGS / group).glob("*.yaml")}
    if group == "analysis":
        _, _, table = README.partition("| `analysis=` |")
        assert set(re.findall(r"^\| `(\w+)` \|", table.partition("```")[0], re.M)) == files
        return
    (row,) = re.findall(rf"^\| `{group}` \| (.*) \|$", choices, re.M)
    if group in TABLES:
        _, _, table = README.partition(f"### {TABLES[group]}")
        table = table.partition("`search/part=" if group == "search" else "Every search goes")[0]
        assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == files
        return
    named = set(re.findall(r"`(\w+)`", row)) - (set(PRIMITIVES) - files) - {"alpha"}
    assert named == files


def test_the_table_of_parts_names_every_part() -> None:
    _, _, table = README.partition("`search/part=[a,b]`")
    table = table.partition("### Selections")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == {
        file.stem for file in (CONFIGS / "search" / "part").glob("*.yaml")
    }


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif key not in ("_target_", "name"):
            yield f"{prefix}{key}", value


def test_the_table_of_perturb_has_every_option_with_its_default() -> None:
    _, _, after = README.partition("### Options of `selection=perturb`")
    table = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| [^|]+ \|$", after, re.M))
    written = OmegaConf.to_container(OmegaConf.load(CONFIGS / "selection" / "perturb.yaml"))
    scoring = OmegaConf.to_container(OmegaConf.load(CONFIGS / "selection" / "scoring" / "full.yaml"))
    assert isinstance(written, dict)
    assert written.pop("defaults")[0] == {"scoring": "full"}
    options = dict(leaves({**written, "scoring": scoring}))
    assert list(table) == list(options)
    for option, default in options.items():
        if "${" not in str(default):
            assert table[option].strip("`") == str(default).lower() or float(table[option]) == default


@pytest.mark.parametrize("group", ("search_space", "search", "evaluation", "data", "trainer"))
def test_the_options_of_the_other_groups_are_those_there_are(group: str) -> None:
    _, _, options = README.partition("### Options of the others")
    (row,) = re.findall(rf"^\| `{group}` \| (.*) \|$", options, re.M)
    there: set[str] = set()
    for file in (CONFIGS / group).glob("*.yaml"):
        there |= set(OmegaConf.to_container(OmegaConf.load(file)) or ())  # type: ignore[arg-type]
    there -= {"defaults", "_target_", "_partial_", "_convert_", "name", "source"}
    assert there <= set(re.findall(r"`(\w+)`", row)), f"the README leaves out options of {group}"


def test_every_file_that_it_links_to_is_there() -> None:
    linked = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert {"RESULTS.md", "CHANGELOG.md", "LICENSE", "docs/decisions.md"} <= set(linked)
    for name in linked:
        assert (REPOSITORY / name).exists(), name


def test_its_pictures_are_small() -> None:
    for name in re.findall(r"!\[[^]]*\]\((.+?)\)", README):
        assert (REPOSITORY / name).stat().st_size < 150_000


def test_every_path_of_the_layout_is_there() -> None:
    (layout,) = (block for block in blocks("text") if block.startswith("train.py"))
    folder = REPOSITORY
    for line in layout.splitlines():
        folder = REPOSITORY / "src" / "archselect" if line.startswith("    ") else REPOSITORY
        names = line.strip().split("   ")[0].split()
        for name in names:
            assert (folder / name).exists(), name
    packages = {path.name for path in (REPOSITORY / "src" / "archselect").iterdir() if (path / "__init__.py").exists()}
    assert packages <= set(re.findall(r"(\w+)/ ", layout))


def test_it_names_every_operation() -> None:
    (sentence,) = re.findall(r"^The operations are (.*?)\.$", README, re.M | re.S)
    assert re.findall(r"`(\w+)`", sentence) == list(PRIMITIVES)
