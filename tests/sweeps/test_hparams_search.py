"""Searches over options: validation scores only, and a study that goes on where it was cut off."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.command import CONFIGS, Run, sweep, tiny

from archselect.pipeline.preflight import check_objective, validation_scores
from archselect.pipeline.run import Run as Pipeline
from archselect.utils.errors import UserError

optuna = pytest.importorskip("optuna", reason="pip install 'archselect[sweeps]'")

QUICK = (*tiny("nasbench201", "darts", "magnitude"), "logger=none", "evaluation=none")
STUDY = (*QUICK, "hydra/sweeper=study", "optimized_metric=search.val_accuracy", "hydra.sweeper.study_name=mine")
RATES = "search.weight_optimizer.lr=tag(log,interval(0.001,0.1))"


def trials(logs: str) -> list[Any]:
    storage = f"sqlite:///{logs.removeprefix('logs=')}/studies/mine.db"
    return list(optuna.load_study(study_name="mine", storage=storage).trials)


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    with pytest.raises(SystemExit) as ended:
        sweep(*overrides)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_study_goes_on_from_its_storage_with_the_trial_that_a_kill_left(
    own_logs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killed(BaseException):
        pass

    begun: list[Run] = []
    go = Pipeline.go

    def killed_in_the_second(self: Pipeline) -> dict[str, Any]:
        begun.append(Run(self.folder))
        if len(begun) == 2:
            raise Killed
        return go(self)

    monkeypatch.setattr(Pipeline, "go", killed_in_the_second)
    with pytest.raises(Killed):
        sweep(*STUDY, RATES, own_logs, "hydra.sweeper.n_trials=2")
    assert [trial.state.name for trial in trials(own_logs)] == ["COMPLETE", "RUNNING"]
    again = sweep(*STUDY, RATES, own_logs, "hydra.sweeper.n_trials=3")
    rates = [job.config.search.weight_optimizer.lr for job in (begun[0], *again)]
    assert len(set(rates)) == 3
    assert again[0].config.search.weight_optimizer.lr == begun[1].config.search.weight_optimizer.lr
    found = trials(own_logs)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3
    assert [trial.params["search.weight_optimizer.lr"] for trial in found] == rates
    assert [trial.value for trial in found] == [job.summary["search.val_accuracy"] for job in (begun[0], *again)]
    assert "Best of 3 trials (mine): search.val_accuracy" in capsys.readouterr().out
    written = OmegaConf.load(again[0].folder.parent / "optimization_results.yaml")
    assert written.best_value == max(trial.value for trial in found)
    assert sweep(*STUDY, RATES, own_logs, "hydra.sweeper.n_trials=3") == []
    said = refused(capsys, *STUDY, RATES, own_logs, "search.epochs=3")
    assert "The study mine in sqlite:///" in said
    assert "search.search.epochs: 2, now 3" in said


def test_a_trial_that_fails_does_not_end_the_study_and_is_named(
    own_logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = "search.batch_size=30,6000"
    grid = ("hydra.sweeper.sampler._target_=optuna.samplers.BruteForceSampler", "hydra.sweeper.n_trials=2")
    said = refused(capsys, *STUDY, sizes, *grid, own_logs)
    assert "1 of the 2 jobs of the sweep failed; the other 1 is finished." in said
    assert "search.batch_size is 6000" in said
    assert sorted(trial.state.name for trial in trials(own_logs)) == ["COMPLETE", "FAIL"]


# --- What is optimised. ---


def config_of(*overrides: str) -> Any:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["optimized_metric=evaluation.test_accuracy"], ["is a test score", "search.val_accuracy"]),
        (["search_space=nasbench201", "optimized_metric=evaluation.rank"], ["is a test score", "cifar10_valid"]),
        (
            ["evaluation.validation_share=0", "optimized_metric=evaluation.val_accuracy"],
            ["is no validation score of this run", "evaluation.validation_share=0.1"],
        ),
        (
            ["task=regression", "optimized_metric=search.val_accuracy"],
            ["is no validation score", "search.val_mean_absolute_error, search.val_r2"],
        ),
        (["optimized_metric=search.accuracy"], ["is no validation score of this run", "search.val_accuracy"]),
        (
            ["genotype=DARTS_V2", "evaluation=none", "optimized_metric=search.val_accuracy"],
            ["will have no validation score"],
        ),
    ],
)
def test_what_is_no_validation_score_is_refused_with_those_there_are(overrides: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        check_objective(config_of("search_space=darts", *overrides))
    assert not [part for part in parts if part not in str(refusal.value)], str(refusal.value)


def test_an_error_and_a_loss_are_the_better_the_lower() -> None:
    scores = validation_scores(config_of("search_space=darts", "task=regression", "evaluation.validation_share=0.1"))
    lower = [name for name, mode in scores.items() if mode == "min"]
    error = "val_mean_absolute_error"
    assert lower == [f"search.{error}", f"evaluation.{error}", "evaluation.val_loss"]
    assert scores["search.val_r2"] == "max"


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ([RATES, "optimized_metric=null"], "optimized_metric is null"),
        ([RATES, "optimized_metric=evaluation.test_accuracy"], "evaluation.test_accuracy is a test score"),
        (["search.epochs=2"], "There is nothing to search over"),
        ([RATES, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials must be a whole number above 0; got 0"),
        (["search.epochs=glob(*)"], "cannot be searched over"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_before_the_first_trial(
    overrides: list[str], part: str, own_logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert part in refused(capsys, *STUDY, *overrides, own_logs)
    assert not list(Path(own_logs.removeprefix("logs=")).glob("sweeps/*/*/train.log"))


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONFIGS / "hparams_search").glob("*.yaml")))
def test_every_search_over_options_names_options_and_a_validation_score_that_there_are(name: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        whole = compose("train", [f"hparams_search={name}", "search_space=s2"], return_hydra_config=True)
    check_objective(whole)
    assert whole.hydra.mode.name == "MULTIRUN"
    assert whole.hydra.sweeper.study_name.startswith(f"{name}-")
    assert all(OmegaConf.select(whole, option) is not None for option in whole.hydra.sweeper.params)
