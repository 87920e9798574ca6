"""The calls before the stream: they find or register the job, and start the attempt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from lrs import errors
from lrs.differences import tell_differences
from lrs.job import as_registered, check_length, check_match, fitting_name
from lrs.launch import launch
from lrs.resume import check_lineage
from lrs.v1.change_pb2 import Change
from lrs.v1.job_pb2 import Job, JobSpec
from lrs.v1.job_service_pb2 import (
    CreateJobRequest,
    GetJobRequest,
    ListChangesRequest,
    ListChangesResponse,
    UpdateJobRequest,
)
from lrs.v1.learning_rate_service_pb2 import StartAttemptRequest
from lrs.wire import Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lrs.attempt import AttemptToken
    from lrs.v1.learning_rate_service_pb2 import StartAttemptResponse
    from lrs.wire import Connection

log = logging.getLogger("lrs")


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
    attempt_token: AttemptToken
    """The token of this attempt, or how to find it."""
    base_lrs: Sequence[float] = ()
    """The base rates of `groups`."""
    reporting_ranks: int | None = None
    """The number of ranks that report; `None`: the job's."""
    strict: bool = False
    """Whether a job that is registered with another spec is refused."""
    implied: frozenset[str] = frozenset()
    """The fields of `spec` that nobody asked for, such as the default schedule of a library's trainer."""


def find_or_register(connection: Connection, errand: Errand, timeout: float) -> Job:
    """Find the errand's job, or register it if it is missing and the errand has a spec.

    Raises:
        UsageError: If the job's parameter groups are not the trainer's, apart from groups added at the end, if it is
            shorter than the training, or, with `strict`, if it has another spec.
        JobEndedError: If the job has ended.
        grpc.RpcError: If a call fails.
    """
    job, differing = _create(connection, errand, timeout) if errand.spec is not None else (None, frozenset[str]())
    if job is None:
        job = connection.get_job(GetJobRequest(name=errand.job), timeout)
    if job.state in (Job.STATE_COMPLETED, Job.STATE_FAILED, Job.STATE_CANCELLED):
        state = Job.State.Name(job.state).removeprefix("STATE_")
        raise errors.JobEndedError(
            f"{errand.job} has ended: it is {state}. Train under a new job name, or fork this one with `lrs job fork`.",
            code="FAILED_PRECONDITION",
            reason="JOB_ENDED",
        )
    for warning in job.warnings:
        log.warning("%s: %s.", job.name, warning)
    job = grown(connection, errand, job, timeout)
    check_match(job, errand.groups, errand.spec, errand.tier)
    if errand.spec is not None and differing:
        differing -= _ordered(connection, errand, timeout)
        tell_differences(job, errand.spec, differing - errand.implied, strict=errand.strict)
        # The trainer's own length was not asked for, but its schedule ends elsewhere.
        tell_differences(job, errand.spec, differing & errand.implied & {"total_steps"}, strict=False)
    return job


def start_attempt(
    connection: Connection,
    errand: Errand,
    job: Job,
    token: str,
    first_step: int,
    resumes: Mapping[str, object] | None,
    timeout: float,
) -> StartAttemptResponse:
    """Start the attempt `token` of `job` at `first_step`. `resumes` is the state of the checkpoint to resume from, if any.

    Raises:
        ResumeError: If the checkpoint does not belong to the job's present history, or the job's schedule is over.
        grpc.RpcError: If a call fails.
    """
    if resumes is not None:
        check_lineage(connection, errand.job, resumes, timeout)
    check_length(job, errand.spec, first_step)
    ranks = errand.reporting_ranks
    if ranks is None and job.spec.reporting_ranks > 1:
        # All processes report, and there may be fewer or more of them than when the job was registered.
        ranks = launch().world
    request = StartAttemptRequest(
        job=errand.job,
        attempt_token=token,
        resume_step=first_step,
        reporting_ranks=ranks,
    )
    return connection.start_attempt(request, timeout)


def steps_ahead(job: Job, attempt: StartAttemptResponse) -> int:
    """How many steps ahead of the trainer final directives reach."""
    ahead = job.spec.commit_ahead if job.spec.HasField("commit_ahead") else 64
    return min(ahead, attempt.decision_lag) if attempt.needs_telemetry else ahead


def grown(connection: Connection, errand: Errand, job: Job, timeout: float) -> Job:
    """The job with the groups that this trainer has added at the end, such as layers that are no longer frozen.

    Raises:
        grpc.RpcError: If the service refuses them, or does not answer.
    """
    added = _added(errand, job)
    return _add(connection, errand, job, added, timeout) if added else job


def grown_one_by_one(connection: Connection, errand: Errand, job: Job, timeout: float) -> tuple[Job, str]:
    """The job with those added groups that the service takes, and what it says of the first that it refuses.

    A group gets a name that fits if its own does not. Rates are told by place, so the groups after a refused one wait too.

    Raises:
        grpc.RpcError: If the service does not answer.
    """
    first = len(job.spec.groups)
    for index, (name, base_lr) in enumerate(_added(errand, job), first):
        try:
            job = _add(connection, errand, job, [(name, base_lr)], timeout)
            continue
        except grpc.RpcError as failure:
            if not errors.is_permanent(failure):
                raise
            problem = errors.details(failure)
        fitting = fitting_name(name, index)
        try:
            job = _add(connection, errand, job, [(fitting, base_lr)], timeout)
        except grpc.RpcError as failure:
            if not errors.is_permanent(failure):
                raise
            return job, f"group {name!r:.110}, nor those after it: {problem}"
        text = f"The parameter group {name!r:.110} of {job.name} is registered as {fitting!r}: {problem}"
        log.warning("%s", errors.sentence(text))
    return job, ""


def _added(errand: Errand, job: Job) -> list[tuple[str, float]]:
    """The groups that the trainer has and the job lacks, with their base rates."""
    known = [group.name for group in job.spec.groups]
    names = as_registered(errand.groups or (), known)
    if names[: len(known)] != known or len(errand.base_lrs) < len(names):
        return []
    return list(zip(names, errand.base_lrs, strict=False))[len(known) :]


def _add(connection: Connection, errand: Errand, job: Job, added: Sequence[tuple[str, float]], timeout: float) -> Job:
    spec = JobSpec(groups=job.spec.groups)
    for name, base_lr in added:
        spec.groups.add(name=name, base_lr=base_lr)
    request = UpdateJobRequest(
        job=Job(name=job.name, etag=job.etag, spec=spec),
        update_mask=FieldMask(paths=["spec.groups"]),
        reason=f"the trainer of attempt {errand.attempt_token.token} has more parameter groups"[:1000],
        author="trainer",
    )
    names = ", ".join(name for name, _ in added)
    log.info("%s gets the parameter groups that this trainer has added: %s.", job.name, names)
    return connection.update_job(request, timeout)


def _ordered(connection: Connection, errand: Errand, timeout: float) -> frozenset[str]:
    """The fields of the job's spec that an order has changed since it was registered: what they ordered holds."""
    list_changes: Call[ListChangesRequest, ListChangesResponse] = Call(
        connection, "JobService/ListChanges", ListChangesResponse
    )
    request, fields = ListChangesRequest(job=errand.job, page_size=1000), set[str]()
    while True:
        try:
            page = list_changes(request, timeout)
        except grpc.RpcError as failure:
            if errors.is_permanent(failure):  # a trainer that may not read the record
                return frozenset(fields)
            raise
        for change in page.changes:
            if change.kind in (Change.KIND_UPDATED, Change.KIND_SPEC_CHANGED):
                fields.update(change.detail.split(", "))
        if not page.next_page_token:
            return frozenset(fields)
        request.page_token = page.next_page_token


def _create(connection: Connection, errand: Errand, timeout: float) -> tuple[Job | None, frozenset[str]]:
    """Register the job, or find it with the same spec; if it has another, no job and the fields that differ."""
    parent, _, job_id = errand.job.partition("/jobs/")
    try:
        request = CreateJobRequest(parent=parent, job_id=job_id, job=Job(spec=errand.spec))
        job = connection.create_job(request, timeout)
    except grpc.RpcError as failure:
        if errors.status_code(failure) is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        # The service compares the specs in its own form, where a schedule has one spelling.
        _, _, fields = errors.details(failure).rpartition(": ")
        return None, frozenset(fields.split(", "))
    return job, frozenset()
