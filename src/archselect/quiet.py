"""What Lightning says that a user need not read."""

import logging
import warnings


def quiet_lightning() -> None:
    """Leave out what Lightning says of devices, products, fits without validation, and its use of torch's pytree.

    And of means over several processes: those that are reported are over all of them. And where Slurm is, of srun: a
    run that was started without it starts its processes itself.
    """
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
