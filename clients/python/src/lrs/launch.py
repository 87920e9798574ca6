"""The launcher that started this process, as its environment variables tell: its name for the start, the rank, the world."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Launchers in the order they are asked: one may run inside another, as `mpirun` inside a Slurm allocation. A launcher has
#: the variables of its rank, the variables of its world size, and those that are equal in all processes of a start. The
#: last name what was started (a rendezvous, an allocation), so they are often equal after a restart too.
_LAUNCHERS: Final = (
    (
        "torchelastic",
        ("TORCHELASTIC_RUN_ID",),
        ("RANK",),
        ("WORLD_SIZE",),
        ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
    ),
    ("mpi", ("OMPI_COMM_WORLD_RANK",), ("OMPI_COMM_WORLD_RANK",), ("OMPI_COMM_WORLD_SIZE",), ("PMIX_NAMESPACE",)),
    ("mpi", ("MV2_COMM_WORLD_RANK",), ("MV2_COMM_WORLD_RANK",), ("MV2_COMM_WORLD_SIZE",), ("PMI_JOBID",)),
    # Kubeflow's PyTorchJob, Ray Train for PyTorch, and scripts.
    ("world", ("WORLD_SIZE",), ("RANK",), ("WORLD_SIZE",), ("SLURM_JOB_ID", "SLURM_STEP_ID", "RAY_JOB_ID")),
    (
        "slurm",
        ("SLURM_JOB_ID",),
        ("SLURM_PROCID",),
        # A step may have fewer tasks than its allocation.
        ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ),
    ("mpi", ("PMI_RANK",), ("PMI_RANK",), ("PMI_SIZE",), ("PMI_JOBID",)),
    ("kubernetes", ("JOB_COMPLETION_INDEX",), (), (), ("JOB_NAME",)),
)


class Launch(NamedTuple):
    """A start of processes."""

    name: str
    """What is equal in all processes of the start. It may be equal after a restart too."""
    rank: int
    """The rank of this process; 0 if it is not known."""
    world: int | None
    """The number of processes; `None` if it is not known."""

    @property
    def is_shared(self) -> bool:
        """Whether there are several processes."""
        return self.world is not None and self.world > 1


def launch(environment: Mapping[str, str] | None = None) -> Launch:
    """The launch of this process. A library that already connects the processes knows rank and world best."""
    known = os.environ if environment is None else environment
    started = Launch("process", 0, None)
    for kind, signs, ranks, sizes, names in _LAUNCHERS:
        if all(known.get(sign) for sign in signs):
            words = [known.get(name) or "-" for name in names]
            started = Launch(":".join([kind, *words]), _whole(known, ranks) or 0, _whole(known, sizes) or None)
            break
    connected = _torch() or _jax() or _ray() if environment is None else None
    return started if connected is None else started._replace(rank=connected[0], world=connected[1])


def _whole(known: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    """The first whole number among variables."""
    return next((int(known[name]) for name in names if known.get(name, "").isdecimal()), None)


def _torch() -> tuple[int, int] | None:
    """The rank and the world of PyTorch's process group, if there is one."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def _jax() -> tuple[int, int] | None:
    """The rank and the world of JAX's processes, if they are connected. Starts none of JAX's backends."""
    state: Any = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
    if getattr(state, "client", None) is None:
        return None
    return int(state.process_id), int(state.num_processes)


def _ray() -> tuple[int, int] | None:
    """The rank and the world of a worker of Ray Train, which sets variables only for PyTorch."""
    train = sys.modules.get("ray.train")
    if train is None:
        return None
    try:
        context = train.get_context()
        rank, world = int(context.get_world_rank()), int(context.get_world_size())
    except Exception:  # noqa: BLE001 (a process of Ray that is no worker of a training)
        return None
    # Where Ray Train is only imported, it says that there is one process.
    return (rank, world) if world > 1 else None
