"""A typed command: what Hydra is given, what is imported before there is work, and what a slip is answered with."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from tests.command import ANALYZE, CONFIGS, TRAIN, Run, analyze, tiny, train

from archselect.analysis.command import look
from archselect.genotype import PUBLISHED, Genotype
from archselect.genotype.genotype import OFFICIAL_NOTATION
from archselect.pipeline.command_help import EXAMPLES, GROUPS, show_help
from archselect.pipeline.command_line import arranged, data_name, launch, method, register_resolvers
from archselect.pipeline.finished_run import load_genotype, load_supernet, open_run
from archselect.store.redact_paths import override
from archselect.utils.errors import in_a_sentence

HEAVY = ("torch", "pytorch_lightning", "wandb", "sklearn", "pandas", "datasets", "matplotlib", "optuna", "pyarrow")
NASTY = "it's a, b = [c] {d} (e): ~f \\"


@pytest.mark.parametrize(
    "command",
    [
        [str(TRAIN), "--help"],
        [str(ANALYZE), "--cfg", "job", "analysis=cells", "run=x"],
        ["-m", "archselect.reporting", "--help"],
        ["-m", "archselect.reporting.dashboard", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True, cwd=TRAIN.parent
    )
    imported = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines()}
    assert "argparse" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize("width", [80, 140])
def test_help_has_a_line_for_every_choice_of_every_group(width: int, tmp_path: Path) -> None:
    own = tmp_path / "search" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("# One of my own. Second sentence.\ndefaults: [darts]\n")
    for command, groups in GROUPS.items():
        console = Console(width=width, file=io.StringIO(), record=True)
        show_help(console, command, [CONFIGS, tmp_path])
        lines = console.export_text().splitlines()
        assert all(len(line) <= width for line in lines if not line.startswith("  python"))
        assert len([line for line in lines if line.startswith("  python")]) == len(EXAMPLES[command])
        described = dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
        for group in groups:
            for file in (CONFIGS / group).glob("*.yaml"):
                assert described[file.stem], f"{file} has no header"
        assert command != "train" or described["mine"].strip() == "One of my own."


def test_a_folder_that_is_not_there_is_named_by_the_help_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(TRAIN), "--help", "--config-dir", "nowhere"])
    with pytest.raises(SystemExit, match="There is no folder nowhere"):
        launch(lambda: None)


def test_every_group_is_in_the_help() -> None:
    there = {str(file.parent.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.yaml")} - {"."}
    shown = {group for groups in GROUPS.values() for group in groups}
    inner = {group for group in there if group.startswith("protocol/")}  # of a protocol, and of an experiment
    assert there - inner - shown == {"hydra", "hydra/sweeper", "search_space/size"}


@pytest.mark.parametrize("command", ["predict", "export"])
def test_what_has_to_be_given_is_named(command: str, hydra: None) -> None:
    config = compose(command, return_hydra_config=True)
    with pytest.raises(OmegaConfBaseException) as lacking:
        str(config.hydra.run.dir)
    assert in_a_sentence(lacking.value, composing=True) == "run has to be given: run=... --help says what it is."


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("search_space=s22", "There is no search_space=s22. Did you mean s2?"),
        ("selectoin=perturb", "There is no option selectoin. Did you mean selection?"),
        ("search.epoch=3", "There is no option search.epoch. Did you mean epochs?"),
        ("selection.tuning.epochs_betwen=2", "Did you mean epochs_between"),
        ("epochs=3", "Did you mean search.epochs or selection.tuning.epochs or evaluation.epochs?"),
        ("search/part=[curvatur]", "There is no search/part=curvatur. Did you mean curvature?"),
        ("seed=0,1", "seed=0,1 gives several values. Add -m"),
        ("name=it's", "put it into quotes: 'name='\"'\"'it\\'\"'\"'s'\"'\"''"),
        ("logger.wandb.offline=true", "There is no option logger.wandb. The options of logger are csv."),
        ("search_space.operations.norml=[skip_connect]", "operations were given for ['normal', 'norml', 'reduction']"),
        ("logs=[1]", "logs must be the name of a folder; got [1]."),
    ],
)
def test_a_slip_is_answered_in_one_sentence(
    typed: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        train(*tiny(), typed)
    error = (
        capsys.readouterr().err.partition("\nError: ")[2].removesuffix("\n(HYDRA_FULL_ERROR=1 shows the traceback.)\n")
    )
    assert ended.value.code == 1
    assert said in error
    assert "\n" not in error


def test_flags_stand_anywhere_and_a_home_folder_is_expanded_wherever_a_path_is_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed = ["seed=0,1", "-m", "search=darts", "--config-name", "x=y", "~logger"]
    assert arranged(typed) == ["-m", "--config-name", "x=y", "seed=0,1", "search=darts", "~logger"]
    monkeypatch.setenv("HOME", "/home/anna")
    typed = ["--config-dir=~/c", "logs=~/l", "data.path=~", "run=~/a,~/b", "~search.snapshots", "name=a~/b"]
    assert arranged(typed) == [
        "--config-dir=/home/anna/c",
        *("logs=/home/anna/l", "data.path=/home/anna", "run=/home/anna/a,/home/anna/b"),
        *("~search.snapshots", "name=a~/b"),
    ]


def test_a_path_that_exists_needs_no_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (NASTY, "digits"):
        Path(name).mkdir()
    run, *others = arranged([f"run={NASTY}", "data=digits", "run=a,b"])
    assert OverridesParser.create().parse_override(run).value() == NASTY
    assert others == ["data=digits", "run=a,b"]


@given(st.text(st.sampled_from("a'\"\\${}[](),=:~ é\t#%"), max_size=12))
def test_an_override_holds_any_text(text: str) -> None:
    parsed = OverridesParser.create().parse_override(override("key", text)).value()
    assert OmegaConf.to_container(OmegaConf.create({"key": parsed}), resolve=True) == {"key": text}


def test_a_run_whose_path_has_quotes_brackets_and_commas_is_opened(tiny_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / NASTY
    shutil.copytree(tiny_run.folder, folder, symlinks=True)
    assert load_genotype(folder) == open_run(folder).genotype
    assert load_supernet(folder).cell_spaces.keys() == {"normal", "reduction"}
    assert analyze("analysis=cells", f"run={folder}") == folder / "analyses" / "cells"
    assert look("cells", folder, configs=CONFIGS).picture == folder / "analyses" / "cells" / "cells.png"


def test_what_a_run_wrote_down_runs_again_and_computes_nothing(
    tiny_run: Run, logs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(logs.removeprefix("logs="))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home.parent))
    (tmp_path / "here").mkdir()
    shutil.copytree(tiny_run.folder / ".hydra", tmp_path / "here" / ".hydra")
    config = tmp_path / "here" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace(str(home), f"~/{home.name}"))
    assert f"logs: ~/{home.name}" in config.read_text()
    again = train("--config-path", str(config.parent), "--config-name", "config")
    assert all(again.reused().values())
    assert not (tmp_path / "~").exists()


def test_a_run_with_a_given_genotype_is_named_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert method(None, "darts", "perturb") == "darts-perturb"
    assert method("DARTS_V2", "darts", "perturb") == "DARTS_V2"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "g.json").write_text(PUBLISHED["DARTS_V1"].to_json())
    assert method("~/g.json", "darts", "perturb") == "DARTS_V1"
    assert method("cell:1:none@0/none@0+none@1", "darts", "perturb").startswith("genotype-")


def test_a_genotype_is_pasted_with_the_line_of_its_log() -> None:
    official = " ".join(OFFICIAL_NOTATION["DARTS_V1"].split())
    assert Genotype.parse(f"11:03 INFO (epoch 49) genotype = {official} (94.2 %)") == PUBLISHED["DARTS_V1"]
    assert Genotype.parse("best: Structure(4 nodes with |none~0|+|none~0|none~1|)").to_nasbench201() == (
        "|none~0|+|none~0|none~1|"
    )
    pasted = arranged([f"genotype=INFO {official} (94.2 %)"])[0]
    assert OverridesParser.create().parse_override(pasted).value() == f"INFO {official} (94.2 %)"


def test_the_result_comes_after_the_loggers_and_ends_with_the_folder_and_what_to_type_next(
    logs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archselect.pipeline.loggers.RunLog.finish", lambda log, status: sys.stdout.write("good-bye\n"))
    run = train(*tiny("s2", "darts", "magnitude", "evaluation=none", logs))
    said = capsys.readouterr().out
    assert said.index("good-bye") < said.index("Result")
    *_, folder, look, report = said.splitlines()
    assert folder == str(run.folder)
    assert look == f"next python analyze.py analysis=operation_strength run={folder}"
    assert report == f"     python -m archselect.reporting {logs.removeprefix('logs=')}"


# --- A data set of one's own is named after where it lies, and two of them never share a name. ---


def test_the_name_is_that_of_the_folder_and_stays_the_same() -> None:
    name = data_name("/data/birds/", {}, "image_folder")
    assert name == data_name("/data/birds", {}, "image_folder") == data_name("/data/x/../birds", {}, "huggingface")
    label, _, digits = name.rpartition("-")
    assert label == "birds" and len(digits) == 4 and int(digits, 16) >= 0


def test_two_folders_of_one_name_and_two_labels_of_one_folder_get_two_names() -> None:
    columns = ({"label_column": "species"}, {"label_column": "family"}, {"test_split": "validation"})
    names = {data_name(folder, {}, "x") for folder in ("/a/birds", "/b/birds")}
    names |= {data_name("/a/birds", source, "x") for source in columns}
    names |= {data_name(None, {"repository": repository}, "x") for repository in ("a/birds", "b/birds")}
    assert len(names) == 7


def test_below_home_a_name_is_the_same_for_all_users_and_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for home in ("/home/ada", "/users/bob"):
        monkeypatch.setenv("HOME", home)
        names |= {data_name(f"{home}/birds", {}, "x"), data_name("~/birds", {}, "x")}
    assert len(names) == 1
    monkeypatch.chdir(Path("/"))
    assert data_name("birds", {}, "x") == data_name("/birds", {}, "x")


@pytest.mark.parametrize(
    ("path", "repository", "name"),
    [
        ("/a/my birds (2)", None, "my-birds-2-"),
        ("/a/…", None, "own-"),
        ("/", None, "own-"),
        (None, "me/birds", "me-birds-"),
        (None, None, "own"),
    ],
)
def test_a_config_names_its_data_set_by_the_options_beside_the_name(
    path: str | None, repository: str | None, name: str
) -> None:
    register_resolvers()
    data = {"name": "${archselect.data_name:own}", "path": path, "source": {"repository": repository}}
    config = OmegaConf.create({"run": "s2-${data.name}", "data": data})
    assert config.run.startswith(f"s2-{name}")
    assert config.data.name == data_name(path, {"repository": repository}, "own")
