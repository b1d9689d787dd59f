"""Search, select and judge an architecture: `python train.py search_space=s2 selection=perturb`."""

import hydra
from omegaconf import DictConfig

from archselect.pipeline.command_line import announce, launch


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> float | None:
    """Hand the composed config over; return what a search over options optimises."""
    announce(config)
    from archselect.pipeline import run as pipeline  # imported here, for --help and completion need no PyTorch
    from archselect.pipeline.run import objective

    return objective(config, pipeline.run(config))


if __name__ == "__main__":
    launch(main)
