"""Ask the network of a finished run about images: `python predict.py run=logs/runs/NAME/DATE images=FOLDER`."""

import hydra
from omegaconf import DictConfig

from archselect.distributed.launch import refuse_launched_analysis
from archselect.pipeline.command_line import announce, launch


@hydra.main(version_base="1.3", config_path="configs", config_name="predict")
def main(config: DictConfig) -> None:
    """Hand the composed config over."""
    announce(config)
    from archselect.deployment import predict  # imported here, for --help and completion need no PyTorch

    predict.predict(config)


if __name__ == "__main__":
    launch(main, refuse_launched_analysis)
