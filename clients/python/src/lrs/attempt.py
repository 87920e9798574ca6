"""The token that names an attempt: equal in all its processes, and different after a restart."""

from __future__ import annotations

import os
import socket
import uuid
from typing import TYPE_CHECKING

from lrs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 200


def attempt_token(environment: Mapping[str, str] | None = None) -> str:
    """The token of this process's attempt, made from the environment variables of its launcher.

    torchrun names the run and counts its restarts; Slurm names the job and its step, and counts how often the job was
    requeued. Kubernetes numbers the pods of an indexed job but does not count restarts, and a process that was started by
    hand has no such variables: there each process gets a token of its own. If several processes of such an attempt connect,
    choose a token yourself.
    """
    known = os.environ if environment is None else environment
    run = known.get("TORCHELASTIC_RUN_ID", "")
    # torchrun's default for a run without an identifier, the same for every run.
    if run not in ("", "none"):
        token = f"torchelastic:{run}:{known.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    elif job := known.get("SLURM_JOB_ID"):
        token = f"slurm:{job}:{known.get('SLURM_STEP_ID', '-')}:{known.get('SLURM_RESTART_COUNT', '0')}"
    elif index := known.get("JOB_COMPLETION_INDEX"):
        token = f"kubernetes:{known.get('HOSTNAME', '')}:{index}:{uuid.uuid4().hex}"
    else:
        token = f"process:{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
    return token if len(token) <= _LONGEST else token[: _LONGEST - 33] + ":" + uuid.uuid5(uuid.NAMESPACE_OID, token).hex


def checked_token(token: object) -> str:
    """A token that a caller chose; empty if there is none. Raises `UsageError` if it is no token."""
    if token is None:
        return ""
    if not isinstance(token, str) or len(token) > _LONGEST:
        raise UsageError(f"attempt_token must be a text of at most {_LONGEST} characters, and was {token!r:.60}.")
    return token


def world_size(environment: Mapping[str, str] | None = None) -> int | None:
    """The number of processes that torchrun or Slurm has started for this training; `None` if neither has."""
    known = os.environ if environment is None else environment
    sizes = (known.get(name, "") for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    return next((int(size) for size in sizes if size.isdecimal() and int(size) > 0), None)
