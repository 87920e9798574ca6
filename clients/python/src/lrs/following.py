"""Processes that meet only in the service: each takes the token of the attempt that rank 0 of its start has begun."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lrs.v1.job_service_pb2 import ListAttemptsRequest

if TYPE_CHECKING:
    from lrs.attempt import AttemptToken
    from lrs.v1.job_pb2 import Attempt
    from lrs.wire import Connection

log = logging.getLogger("lrs")

#: An attempt that began before this process did, by at most so many seconds, may be that of rank 0, which was faster.
_HEAD_START: Final = 60.0
#: For so many seconds a younger attempt is waited for, in case it is the attempt before a restart.
_DOUBT: Final = 5.0
#: For so many seconds rank 0 is waited for at all.
_PATIENCE: Final = 60.0


class Following:
    """The search for the token that rank 0 has chosen."""

    def __init__(self, own: AttemptToken) -> None:
        """Nothing is asked of the service yet.

        Args:
            own: How the token of rank 0 begins, and the token to take if rank 0 begins no attempt.
        """
        self._own = own
        self._began = time.monotonic()
        self._started = process_start()

    def token(self, connection: Connection, job: str, timeout: float) -> str | None:
        """The token of rank 0; `None` if it has begun no attempt yet. Raises `grpc.RpcError`.

        After a minute in vain, this is the token of this process, and the log says so.
        """
        newest = self._newest(connection, job, timeout)
        waited = time.monotonic() - self._began
        if newest is not None:
            ahead = self._started - newest.create_time.ToMicroseconds() / 1e6
            if ahead <= 0 or (ahead <= _HEAD_START and waited >= _DOUBT):
                return newest.attempt_token
        if waited < _PATIENCE:
            return None
        log.warning("Rank 0 has begun no attempt of %s, so this process begins one of its own.", job)
        return self._own.token

    def _newest(self, connection: Connection, job: str, timeout: float) -> Attempt | None:
        newest, page = None, ""
        while True:
            answer = connection.list_attempts(ListAttemptsRequest(job=job, page_token=page), timeout)
            for attempt in answer.attempts:
                if attempt.attempt_token.startswith(self._own.follows) and (
                    newest is None or attempt.attempt > newest.attempt
                ):
                    newest = attempt
            page = answer.next_page_token
            if not page:
                return newest


def process_start() -> float:
    """When this process was started, in seconds since 1970; on other systems than Linux, when it imported this module."""
    try:
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _IMPORTED
    return time.time() - age


_IMPORTED: Final = time.time()
