"""Look at finished runs: `python analyze.py analysis=operation_strength run=logs/runs/NAME/DATE`."""

import hydra
from omegaconf import DictConfig

from archselect.distributed.launch import refuse_launched_analysis
from archselect.pipeline.command_line import announce, launch


@hydra.main(version_base="1.3", config_path="configs", config_name="analyze")
def main(config: DictConfig) -> None:
    """Hand the composed config over."""
    announce(config)
    from archselect.analysis import command  # imported here, for --help and completion need no PyTorch

    command.analyze(config)


if __name__ == "__main__":
    launch(main, refuse_launched_analysis)
