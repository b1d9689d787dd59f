"""What README and docs show works: links lead somewhere, examples run, commands compose, tables name what there is."""

import hashlib
import itertools
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image
from tests.command import CONFIGS, TRAIN, Run, analyze, train

from archselect.costs.latency import Latency
from archselect.deployment import load_network
from archselect.genotype import Genotype
from archselect.models.ops import PRIMITIVES
from archselect.pipeline.command_line import arranged
from archselect.pipeline.config import instantiate_parts
from archselect.pipeline.measure_command import main as measure_latencies
from archselect.pipeline.preflight import check

ROOT = TRAIN.parent
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
OTHERS = [ROOT / "README.md", ROOT / "docs" / "quickstart.md", ROOT / "docs" / "explanation" / "scale.md"]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the code blocks of a page in these languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text_of(page), re.M | re.S)
    return [code for language, code in found if language in languages]


@dataclass(frozen=True)
class Command:
    """A line that starts one of the two scripts."""

    script: str
    multirun: bool
    config_dir: str | None
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.overrides)


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page that start a run or an analysis."""
    lines = "\n".join(blocks(page, "sh", "bash")).replace("\\\n", " ").splitlines()
    for line in lines:
        found = re.search(r"\b(train|analyze)\.py (?!\.\.\.)(.*)", line)
        if not found or "--config-path" in line:
            continue
        words = shlex.split(found[2], comments=True)
        config_dir = words[words.index("--config-dir") + 1] if "--config-dir" in words else None
        yield Command(found[1], "-m" in words, config_dir, tuple(w for w in words if "=" in w and w[0] != "-"))


TESTED_ELSEWHERE = ("glob", "hparams_search", "hydra/launcher", "FILE")  # or the file is the reader's


COMMANDS = sorted({command for page in [*OTHERS, *GUIDES] for command in commands(page)}, key=str)
OWN = [
    (page, command)
    for page in [ROOT / "README.md", *GUIDES]
    for command in commands(page)
    if command.config_dir and command.script == "train" and not command.multirun
]
COMPOSED = [
    command
    for command in COMMANDS
    if command.script == "train"
    and not command.config_dir
    and not any(word in str(command) for word in TESTED_ELSEWHERE)
]


def write_files(page: Path, folder: Path) -> None:
    """Write every block of a page that opens with the name of its file."""
    for block in blocks(page, "yaml", "python"):
        name = re.match(r"(?:# @package \S+\n)?# (\S+/?\S+\.(?:yaml|py))\b", block)
        assert name, f"a block without the name of its file:\n{block}"
        file = folder / name[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)


# --- Links and generated pages. ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    for name in re.findall(r"\]\((?!https?://)([^)#]+)", text_of(page)):
        assert (page.parent / name).exists(), name
        assert not name.endswith(".png") or (page.parent / name).stat().st_size < 350_000, f"{name} is large"


def test_the_pages_that_are_generated_are_what_make_docs_would_write() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_front_page_is_short_and_names_the_paper() -> None:
    readme = text_of(ROOT / "README.md")
    assert len(readme.splitlines()) <= 150
    assert "Rethinking Architecture Selection in Differentiable NAS" in readme
    for name in re.findall(r"^\d\. `([\w./]+)`", readme, re.M):
        assert (ROOT / name).is_file(), name


# --- Examples of one's own. ---


@pytest.mark.parametrize(("page", "command"), OWN, ids=lambda value: getattr(value, "stem", None) or str(value))
def test_an_example_of_ones_own_runs_as_it_stands(
    page: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: str
) -> None:
    write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert command.config_dir == "my_configs"
    small = ["protocol.epochs_between=0", "evaluation=none", logs]
    if not any(word.startswith("selection=") for word in command.overrides):
        small.append("selection=magnitude")
    run = train("--config-dir", "my_configs", "experiment=tiny", *command.overrides[1:], *small)
    for group, member in (word.split("=") for word in command.overrides[1:]):
        if "/" not in group and "." not in group:
            assert run.summary[group] == member
    run.parts.space.check(Genotype.from_text(run.summary["genotype"]))
    assert not any((CONFIGS / file.relative_to(tmp_path / "my_configs")).exists() for file in tmp_path.rglob("*.yaml"))


def test_the_selection_of_ones_own_keeps_what_harms_most_for_its_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(ROOT / "docs" / "guides" / "selection.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = train("--config-dir", "my_configs", "experiment=tiny", "selection=per_weight", "evaluation=none", logs)
    said = capsys.readouterr().out  # what to type next, from this folder
    assert f"python {ROOT / 'analyze.py'} analysis=operation_strength run={run.folder} 'trusted=[my_selection]'" in said
    alpha = run.history("search")[-1]["alpha"]
    decisions = [record for record in run.decisions() if record["kind"] == "operation"]
    assert len(decisions) == 28
    for decision in decisions:
        weights = alpha[decision["cell"]][decision["edge"]]
        harm = [score["loss"] - decision["unmasked"]["loss"] for score in decision["scores"]]
        per_weight = [loss / weight for loss, weight in zip(harm, weights, strict=True)]
        assert decision["candidates"].index(decision["kept"]) == per_weight.index(max(per_weight))


OWN_CELLS = "//".join(
    f"{cell}:2:" + "/".join([f"squeeze_excite@0+{other}@1", f"{other}@0+squeeze_excite@2"] * 2)
    for cell, other in (("normal", "attention"), ("reduction", "conv_1x7_7x1"))
)


def test_operations_of_ones_own_are_retrained_looked_at_and_loaded_by_who_trusts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(ROOT / "docs" / "guides" / "own_operations.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = ["--config-dir", "my_configs", "experiment=tiny", "search_space=mine", logs, f"genotype={OWN_CELLS}"]
    with pytest.raises(SystemExit):
        train("experiment=tiny", *given[4:])
    assert "'squeeze_excite' does not exist" in (said := capsys.readouterr().err)
    assert "known where search_space.operations defines it" in said
    run = train(*given)
    identity = json.loads((run.stage("evaluation") / "identity.json").read_text())
    assert identity["operations"]["attention"] == {"_target_": "my_ops.Attention", "heads": 2}
    assert set(identity["sources"].values()) == {hashlib.sha256((tmp_path / "my_ops.py").read_bytes()).hexdigest()}
    with pytest.raises(ValueError, match=r"names 'my_ops.SqueezeExcite' as search_space.operations.normal.2._target_"):
        load_network(run.folder)
    network = load_network(run.folder, trusted=["my_ops"])
    assert {type(module).__name__ for module in network.modules()} >= {"SqueezeExcite", "Conv1x7And7x1", "Attention"}
    runpy.run_path(str(tmp_path / "in_python.py"))


def test_the_analysis_of_ones_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_run: Run) -> None:
    write_files(ROOT / "docs" / "guides" / "analyses.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = analyze("--config-dir", "my_configs", "analysis=entropy_curve", f"run={tiny_run.folder}")
    (said,) = [file.read_text() for file in folder.rglob("reading.md")]
    entropy = tiny_run.history("search")[-1]["entropy"]["normal"]
    assert re.search(rf"normal: \d\.\d+ to {entropy:.3f} nats", said)


@pytest.mark.parametrize("name", ["reading_a_run", "nasbench201", "from_run_to_network"])
def test_the_python_of_a_guide_runs(
    name: str, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks(ROOT / "docs" / "guides" / f"{name}.md", "python")
    (tmp_path / "configs").symlink_to(CONFIGS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guide.py").write_text(code.replace("logs/runs/NAME/DATE", str(tiny_run.folder)))
    runpy.run_path("guide.py")
    assert capsys.readouterr().out


# --- The commands. ---


def jobs(command: Command) -> list[list[str]]:
    """Return the overrides of every job of a command."""
    parsed = OverridesParser.create().parse_overrides(arranged(command.overrides))
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line]
        for override in parsed
    ]
    return [list(job) for job in itertools.product(*choices)]


@pytest.fixture(scope="module")
def latencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the latencies of experiment=quickstart, as its command writes it where every part takes 10 us."""
    file = tmp_path_factory.mktemp("measured") / "latencies.json"
    measured = ["experiment=quickstart", "device=cpu", "seconds=0.001", f"file={file}", "--configs", str(CONFIGS)]
    with mock.patch("archselect.costs.latency_table.latency", return_value=Latency(0.01, 0.0, 2, False)):
        assert measure_latencies(measured) == 0
    return file


@pytest.mark.parametrize("command", COMPOSED, ids=str)
def test_a_command_composes_to_parts_that_go_together(
    command: Command, latencies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra: None
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (f"{split}/{name}" for split in ("train", "training", "validation") for name in ("cat", "dog")):
        (tmp_path / "FOLDER" / folder).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "FOLDER" / folder / "0.png")
    if "latencies.json" in str(command):
        (tmp_path / "latencies.json").write_bytes(latencies.read_bytes())
    made = jobs(command)
    assert (len(made) > 1) == command.multirun
    first_and_last = made[:: max(1, len(made) - 1)]
    for job in first_and_last:
        config = compose("train", job, return_hydra_config=True)
        config.hydra.runtime.output_dir = str(tmp_path)
        HydraConfig.instance().set_config(config)
        with mock.patch("archselect.pipeline.preflight.check_trainer", return_value=torch.device("cuda")):
            check(instantiate_parts(config))  # a machine without a GPU cannot make trainer=gpu


def test_an_analysis_that_is_shown_is_there(hydra: None) -> None:
    shown = [command for command in COMMANDS if command.script == "analyze" and not command.config_dir]
    assert len(shown) > 3
    for job in (job for command in shown for job in jobs(command)):
        assert f"analysis={compose('analyze', job).analysis.name}" in job


def test_the_sweep_makes_as_many_jobs_and_supernets_as_it_says() -> None:
    guide = ROOT / "docs" / "guides" / "sweeps.md"
    made = jobs(next(command for command in commands(guide) if "search_space=s1,s2" in command.overrides))
    supernets = {tuple(override for override in job if not override.startswith("selection=")) for job in made}
    assert (len(supernets), len(made)) == (8, 16)
    assert "trains eight supernets for its sixteen jobs" in text_of(guide)


# --- The tables. ---


@pytest.mark.parametrize(
    "group", [*sorted(folder.name for folder in CONFIGS.iterdir() if folder.is_dir()), "search/part"]
)
def test_the_table_of_groups_names_every_choice_and_no_other(group: str) -> None:
    if group in ("hydra", "hparams_search"):  # how jobs run, not what
        return
    (row,) = re.findall(rf"^\| `{group}` \| (.*) \|$", text_of(ROOT / "README.md"), re.M)
    assert sorted(re.findall(r"`(\w+)`", row)) == sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))


def test_the_guide_has_every_analysis_and_every_operation() -> None:
    table = re.findall(r"^\| `(\w+)` \|", text_of(ROOT / "docs" / "guides" / "analyses.md"), re.M)
    assert sorted(table) == sorted(file.stem for file in (CONFIGS / "analysis").glob("*.yaml"))
    (sentence,) = re.findall(
        r"^The operations are (.*?)\.$", text_of(ROOT / "docs" / "guides" / "search_space.md"), re.M
    )
    assert re.findall(r"`(\w+)`", sentence) == list(PRIMITIVES)
