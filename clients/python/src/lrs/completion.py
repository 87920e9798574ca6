"""Completes a job whose training is over."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import grpc

from lrs import errors
from lrs.v1.job_pb2 import Job
from lrs.v1.job_service_pb2 import CompleteJobRequest, GetJobRequest
from lrs.wire import OFFLINE, Call, Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
    warn_of_objective(link, names)
    return _with_service(link, options, partial(_end, outcome=outcome, reason=reason))


def complete_trained(link: Link, options: Options, names: Iterable[str], reason: str) -> bool:
    """Complete the job of a link if every reporting rank has trained its last step; else another rank completes it later.

    Returns whether the service answers. Logs a warning if it is not done.
    """

    def end_if_trained(connection: Connection, job: str, timeout: float) -> None:
        get: Call[GetJobRequest, Job] = Call(connection, "JobService/GetJob", Job)
        known = get(GetJobRequest(name=job), timeout)
        progress = known.progress
        if progress.HasField("watermark_step") and progress.watermark_step + 1 >= known.spec.total_steps:
            _end(connection, job, timeout, "COMPLETED", reason)

    if link.attempt is not None and link.attempt.reporting_ranks > 1:
        return _with_service(link, options, end_if_trained)
    return complete(link, options, names, "COMPLETED", reason)


def warn_of_objective(link: Link, names: Iterable[str]) -> None:
    """Warn of an objective that is not among the metrics that were reported, `names`."""
    errand, job, known = link.errand, link.job, list(names)
    objective = job.spec.objective.metric if job is not None else ""
    if objective not in ("", "loss", "grad_norm", *known):
        log.warning(
            "The objective of %s is %s, which was never reported; reported were: %s.",
            errand.job,
            objective,
            ", ".join(["loss", *known]),
        )


def _with_service(link: Link, options: Options, action: Callable[[Connection, str, float], None]) -> bool:
    errand = link.errand
    connection = Connection(errand.server, options.credentials, options.metadata)
    try:
        action(connection, errand.job, options.call_timeout)
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
        _end(connection, job, timeout, outcome, reason)
    except grpc.RpcError as failure:
        _tell(failure, job)
    finally:
        connection.close()


def _end(connection: Connection, job: str, timeout: float, outcome: str, reason: str) -> None:
    request = CompleteJobRequest(name=job, outcome=f"STATE_{outcome}", reason=reason[:1000], author="trainer")
    call: Call[CompleteJobRequest, Job] = Call(connection, "JobService/CompleteJob", Job)
    call(request, timeout)


def _tell(failure: grpc.RpcError, job: str) -> None:
    if errors.reason_of(failure) not in ("JOB_ENDED", "JOB_NOT_FOUND"):
        log.warning(
            "%s is over, but the service could not be told: %s. Use `lrs job complete`.", job, errors.details(failure)
        )
