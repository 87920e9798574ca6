"""What a job's controllers are doing, read from the service now and then while somebody wants to know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import grpc

from lrs.v1.job_service_pb2 import GetJobRequest

if TYPE_CHECKING:
    from lrs.v1.job_pb2 import Job
    from lrs.wire import Connection

#: How old an answer may become before the service is asked again, in seconds.
_FRESH: Final = 3.0
#: How long after the last call of `now` the service is asked, in seconds.
_INTEREST: Final = 15.0


class Phases:
    """The phases of a job's controllers. Reading them never waits."""

    def __init__(self) -> None:
        self._text = ""
        self._wanted_at = self._read_at = float("-inf")

    def now(self) -> str:
        """The newest known phases, such as `holding`; empty if none is known. Any thread may call this."""
        self._wanted_at = time.monotonic()
        return self._text

    def renew(self, connection: Connection, job: str, timeout: float) -> None:
        """Ask the service, if somebody wants to know and the last answer is old. For the link's keeper."""
        now = time.monotonic()
        if now - self._wanted_at > _INTEREST or now - self._read_at < _FRESH:
            return
        self._read_at = now
        try:
            self.take(connection.get_job(GetJobRequest(name=job), timeout))
        except (grpc.RpcError, ValueError):  # a failure that matters breaks the stream too
            return

    def take(self, job: Job) -> None:
        """Take the phases from a job as the service tells it."""
        self._text = ", ".join(controller.phase for controller in job.progress.controllers if controller.phase)
