"""Search, select and judge an architecture: `python train.py search_space=s2 selection=perturb`."""

import hydra
from omegaconf import DictConfig

from archselect import pipeline
from archselect.config import launch, register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> None:
    """Hand the composed config over."""
    pipeline.run(config)


if __name__ == "__main__":
    launch(main)
