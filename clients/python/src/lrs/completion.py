"""Completes a job whose training is over, and names its objective if its spec names none."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from lrs import errors
from lrs.v1.controller_pb2 import MODE_MAX, MODE_MIN
from lrs.v1.job_pb2 import Job, JobSpec, Objective
from lrs.v1.job_service_pb2 import CompleteJobRequest, UpdateJobRequest
from lrs.wire import Call, Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lrs.link import Link
    from lrs.options import Options

log = logging.getLogger("lrs")

_EVALUATION: Final = re.compile(r"(val|eval|valid|validation|test)(_|/|$)", re.IGNORECASE)
#: Parts of the names of metrics of which a higher value is better.
_RISING: Final = re.compile(
    r"(^|[_/])(acc|accuracy|auc|auroc|bleu|f1|iou|map|precision|r2|recall|reward|rouge\w*|score|top\d+)($|[_/])",
    re.IGNORECASE,
)


def complete(link: Link, options: Options, names: Iterable[str], outcome: str, reason: str) -> None:
    """End the job with an outcome such as `COMPLETED`. Logs a warning if the service does not take it.

    `names` are the metrics that were logged: the first evaluation among them becomes the objective, if there is none.
    """
    errand, job = link.errand, link.job
    connection = Connection(errand.server, options.credentials, options.metadata)
    try:
        objective = objective_of(names)
        if job is not None and not job.spec.HasField("objective") and objective is not None:
            request = UpdateJobRequest(
                job=Job(name=errand.job, spec=JobSpec(objective=objective)),
                update_mask=FieldMask(paths=["spec.objective"]),
                reason="the metric that the trainer logged",
                author="trainer",
            )
            connection.update_job(request, options.call_timeout)
        _end(connection, errand.job, outcome, reason, options.call_timeout)
    except grpc.RpcError as failure:
        _tell(failure, errand.job)
    finally:
        connection.close()


def end_job(server: str, job: str, outcome: str, reason: str, timeout: float = 5.0) -> None:
    """End a job that nobody trains any more. Logs a warning if the service does not take it."""
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


def objective_of(names: Iterable[str]) -> Objective | None:
    """The objective that logged metrics suggest: the validation's loss, else the first evaluation; `None` without any."""
    known = list(names)
    evaluations = [name for name in known if name == "val_loss"] or [name for name in known if _EVALUATION.match(name)]
    if not evaluations:
        return None
    metric = evaluations[0]
    return Objective(metric=metric, mode=MODE_MAX if _RISING.search(metric) else MODE_MIN)
