"""Where the tasks of srun, or those of submitit on one machine, meet; torchrun's are told by torchrun."""

import os

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from archselect.distributed.launch import Launched
from archselect.errors import RunError

FIRST_PORT, PORTS = 15000, 17000
"""Below those that Linux hands out by itself, from 32768."""


class TaskEnvironment(ClusterEnvironment):
    """The tasks of a step of Slurm, or of a job of submitit.

    Lightning's `SLURMEnvironment` describes the job, of which srun may have been given a part: another first machine,
    and the same port for all steps of a job. It also wants --ntasks-per-node, and requeues the job itself.
    MASTER_ADDR and MASTER_PORT come first where they are set.

    Args:
        place: Of this process.

    Raises:
        RunError: The machines have unequally many tasks.
    """

    def __init__(self, place: Launched) -> None:
        per_machine = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
        if "," in per_machine:  # 2(x3): two on each of three; 2,1: two on one and one on another
            raise RunError(
                f"srun spread its {place.world_size} tasks over machines as {per_machine}, and every machine needs as "
                "many, one for each device: say so by --nodes and --ntasks-per-node."
            )
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        """They are there."""
        return True

    @property
    def main_address(self) -> str:
        """The machine of the main process."""
        if "MASTER_ADDR" in os.environ:
            return os.environ["MASTER_ADDR"]
        if self._place.nodes == 1:
            return "127.0.0.1"
        return SLURMEnvironment.resolve_root_node_address(os.environ["SLURM_STEP_NODELIST"])

    @property
    def main_port(self) -> int:
        """One for every step of every job that may run on the machine."""
        if "MASTER_PORT" in os.environ:
            return int(os.environ["MASTER_PORT"])
        job = int(os.environ.get("SLURM_JOB_ID") or os.environ.get("SUBMITIT_LOCAL_JOB_ID", "0"))
        return FIRST_PORT + (10 * job + int(os.environ.get("SLURM_STEP_ID", "0"))) % PORTS

    @staticmethod
    def detect() -> bool:
        """It is chosen, not found."""
        return False

    def world_size(self) -> int:
        """Of all machines."""
        return self._place.world_size

    def global_rank(self) -> int:
        """Of all machines."""
        return self._place.rank

    def local_rank(self) -> int:
        """On this machine."""
        return self._place.local_rank

    def node_rank(self) -> int:
        """Of this machine."""
        return int(os.environ.get("SLURM_NODEID", "0"))

    def set_world_size(self, size: int) -> None:
        """It is given."""

    def set_global_rank(self, rank: int) -> None:
        """It is given."""
