"""The calls before the stream: they find or register the job, and start the attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc

from lrs import errors
from lrs.job import check_match
from lrs.resume import check_lineage
from lrs.v1.job_pb2 import Job
from lrs.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from lrs.v1.learning_rate_service_pb2 import StartAttemptRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lrs.v1.job_pb2 import JobSpec
    from lrs.v1.learning_rate_service_pb2 import StartAttemptResponse
    from lrs.wire import Connection


class Errand(NamedTuple):
    """The job to train, and the trainer's identity."""

    server: str
    """`http://HOST:PORT`."""
    job: str
    """`namespaces/{namespace}/jobs/{job}`."""
    spec: JobSpec | None
    """The spec to register a missing job with; `None`: the job must exist."""
    groups: Sequence[str] | None
    """The trainer's parameter groups in their order; `None`: those of the job."""
    tier: int
    """The tier of the trainer."""
    attempt_token: str
    """The token of this attempt."""


def find_or_register(connection: Connection, errand: Errand, timeout: float) -> Job:
    """Find the errand's job, or register it if it is missing and the errand has a spec.

    Raises:
        UsageError: If the job has other parameter groups than the trainer.
        JobEndedError: If the job has ended.
        grpc.RpcError: If a call fails.
    """
    job = _create(connection, errand, timeout) if errand.spec is not None else None
    if job is None:
        job = connection.get_job(GetJobRequest(name=errand.job), timeout)
    if job.state in (Job.STATE_COMPLETED, Job.STATE_FAILED, Job.STATE_CANCELLED):
        state = Job.State.Name(job.state).removeprefix("STATE_")
        raise errors.JobEndedError(
            f"{errand.job} has ended: it is {state}. Train under a new job name, or fork this one with `lrs job fork`.",
            code="FAILED_PRECONDITION",
            reason="JOB_ENDED",
        )
    check_match(job, errand.groups, errand.spec, errand.tier)
    return job


def start_attempt(
    connection: Connection, errand: Errand, first_step: int, resumes: Mapping[str, object] | None, timeout: float
) -> StartAttemptResponse:
    """Start the attempt at `first_step`. `resumes` is the state of the checkpoint to resume from, if any.

    Raises:
        ResumeError: If the checkpoint does not belong to the job's present history.
        grpc.RpcError: If a call fails.
    """
    if resumes is not None:
        check_lineage(connection, errand.job, resumes, timeout)
    request = StartAttemptRequest(job=errand.job, attempt_token=errand.attempt_token, resume_step=first_step)
    return connection.start_attempt(request, timeout)


def steps_ahead(job: Job, attempt: StartAttemptResponse) -> int:
    """How many steps ahead of the trainer final directives reach."""
    ahead = job.spec.commit_ahead if job.spec.HasField("commit_ahead") else 64
    return min(ahead, attempt.decision_lag) if attempt.needs_telemetry else ahead


def _create(connection: Connection, errand: Errand, timeout: float) -> Job | None:
    """Register the job, or find it with the same spec; `None` if a job of that name has another spec."""
    parent, _, job_id = errand.job.partition("/jobs/")
    try:
        return connection.create_job(CreateJobRequest(parent=parent, job_id=job_id, job=Job(spec=errand.spec)), timeout)
    except grpc.RpcError as failure:
        if errors.status_code(failure) is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        return None
