"""The record of a job on a server, read page by page."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from lrs import errors
from lrs.job import job_name
from lrs.v1.job_service_pb2 import (
    GetJobRequest,
    ListAttemptsRequest,
    ListDecisionsRequest,
    ListDecisionsResponse,
    QueryTelemetryRequest,
    QueryTelemetryResponse,
)
from lrs.wire import Call, Connection, server_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from lrs.v1.decision_pb2 import Decision
    from lrs.v1.job_pb2 import Job

__all__ = ["Record"]

_PAGE_STEPS = 10_000
_PAGE = 1000
_TIMEOUT = 30.0


class Record:
    """A job's record. Its methods raise `RefusedError` and `UnreachableError`."""

    def __init__(self, job: str, *, server: str | None = None) -> None:
        self.name = job_name(job)
        self.server = server_address(server)
        self._connection = Connection(self.server, None, ())
        self._telemetry: Call[QueryTelemetryRequest, QueryTelemetryResponse] = Call(
            self._connection, "JobService/QueryTelemetry", QueryTelemetryResponse
        )
        self._decisions: Call[ListDecisionsRequest, ListDecisionsResponse] = Call(
            self._connection, "JobService/ListDecisions", ListDecisionsResponse
        )

    def job(self) -> Job:
        """The job."""
        with self._told():
            return self._connection.get_job(GetJobRequest(name=self.name), _TIMEOUT)

    def started(self, attempt: int) -> Timestamp:
        """The time at which an attempt began."""
        request = ListAttemptsRequest(job=self.name, page_size=_PAGE)
        while True:
            with self._told():
                page = self._connection.list_attempts(request, _TIMEOUT)
            for found in page.attempts:
                if found.attempt == attempt:
                    return found.create_time
            if not page.next_page_token:
                raise errors.RefusedError(f"{self.name} has no attempt {attempt}.", code="NOT_FOUND")
            request.page_token = page.next_page_token

    def telemetry(
        self, attempt: int, *, start_step: int = 0, metrics: Sequence[str] = ()
    ) -> Iterator[QueryTelemetryResponse]:
        """The telemetry of an attempt's history, page by page: complete steps, in columns."""
        request = QueryTelemetryRequest(
            job=self.name, attempt=attempt, start_step=start_step, metrics=metrics, page_size=_PAGE_STEPS
        )
        while True:
            with self._told():
                page = self._telemetry(request, _TIMEOUT)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def decisions(self) -> Iterator[Decision]:
        """All decisions, in the order of their recording."""
        request = ListDecisionsRequest(job=self.name, page_size=_PAGE)
        while True:
            with self._told():
                page = self._decisions(request, _TIMEOUT)
            yield from page.decisions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn gRPC's exceptions into this client's."""
        try:
            yield
        except grpc.RpcError as failure:
            if errors.is_permanent(failure):
                raise errors.refusal(failure, self.name, self.server) from failure
            raise errors.UnreachableError(
                f"{self.server} did not answer about {self.name}: {errors.details(failure)}",
                code=errors.status_code(failure).name,
            ) from failure
