"""The token that names one attempt: the same for all of its processes, and another after each restart."""

from __future__ import annotations

import os
import socket
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 200


def attempt_token(environment: Mapping[str, str] | None = None) -> str:
    """The token of this process' attempt, from what its launcher says.

    torchrun says a run and how often it was restarted, Slurm a job, its step and how often it was requeued. Kubernetes
    says which pod of an indexed job this is but not which restart, and a process started by hand says nothing: there the
    token is of this process alone, so give one yourself if several processes of one attempt connect.
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
