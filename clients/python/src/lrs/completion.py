"""Completes a job whose training is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import grpc

from lrs import errors
from lrs.v1.job_pb2 import Job
from lrs.v1.job_service_pb2 import CompleteJobRequest
from lrs.wire import OFFLINE, Call, Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lrs.link import Link
    from lrs.options import Options

log = logging.getLogger("lrs")


def complete(link: Link, options: Options, names: Iterable[str], outcome: str, reason: str) -> bool:
    """End the job of a link with an outcome such as `COMPLETED`; whether the service answers. Logs a warning if it is not done.

    `names` are the metrics that were reported. Warns of an objective that was not among them.
    """
    if link.is_offline:
        link.finish(outcome, reason)
        return True
    errand, job, known = link.errand, link.job, list(names)
    objective = job.spec.objective.metric if job is not None else ""
    if objective not in ("", "loss", "grad_norm", *known):
        log.warning(
            "The objective of %s is %s, which was never reported; reported were: %s.",
            errand.job,
            objective,
            ", ".join(["loss", *known]),
        )
    connection = Connection(errand.server, options.credentials, options.metadata)
    try:
        _end(connection, errand.job, outcome, reason, options.call_timeout)
    except grpc.RpcError as failure:
        _tell(failure, errand.job)
        return errors.is_permanent(failure)
    else:
        return True
    finally:
        connection.close()


def end_job(server: str, job: str, outcome: str, reason: str, timeout: float = 5.0) -> None:
    """End a job that nobody trains any more. Logs a warning if the service does not take it."""
    if server.startswith(OFFLINE):
        return
    connection = Connection(server, None, ())
    try:
        _end(connection, job, outcome, reason, timeout)
    except grpc.RpcError as failure:
        _tell(failure, job)
    finally:
        connection.close()


def _end(connection: Connection, job: str, outcome: str, reason: str, timeout: float) -> None:
    request = CompleteJobRequest(name=job, outcome=f"STATE_{outcome}", reason=reason[:1000], author="trainer")
    call: Call[CompleteJobRequest, Job] = Call(connection, "JobService/CompleteJob", Job)
    call(request, timeout)


def _tell(failure: grpc.RpcError, job: str) -> None:
    if errors.reason_of(failure) not in ("JOB_ENDED", "JOB_NOT_FOUND"):
        log.warning(
            "%s is over, but the service could not be told: %s. Use `lrs job complete`.", job, errors.details(failure)
        )
