"""Search, select and judge an architecture: `python train.py search_space=s2 selection=perturb`."""

import hydra
from omegaconf import DictConfig

from archselect.commandline import announce, launch


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> float | None:
    """Hand the composed config over; return what a search over options optimises."""
    announce(config)
    from archselect import pipeline  # imported here, for --help and completion need no PyTorch
    from archselect.objective import objective

    return objective(config, pipeline.run(config))


if __name__ == "__main__":
    launch(main)
