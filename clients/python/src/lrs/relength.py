"""A training that turns out to have another length than its job: an out-of-memory error or a second `fit` changes it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from lrs import errors
from lrs.arguments import bounds
from lrs.implied import in_spec, names_given
from lrs.job import job_spec
from lrs.v1.job_pb2 import Job, JobSpec
from lrs.v1.job_service_pb2 import GetJobRequest, UpdateJobRequest
from lrs.wire import OFFLINE, Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lrs.arguments import SchedulerArguments
    from lrs.options import Options
    from lrs.scheduler import Scheduler

log = logging.getLogger("lrs")

_FIELDS = ("total_steps", "steps_per_epoch", "schedule")


def relength(before: Scheduler | None, asked: SchedulerArguments, given: Mapping[str, object]) -> None:
    """Give the job of a trainer that begins again the length of `asked`, and its schedule if that names the length.

    Not if nothing came `before`, or without a server, or if the length is among the arguments that a person has `given`.
    Never raises for the service: a job that keeps its length is found out when it is registered again.
    """
    if before is None or before.server.startswith(OFFLINE) or {"total_steps", "target_epochs"} & names_given(given):
        return
    fields = {name: value for name, value in in_spec(asked).items() if name != "groups"}
    spec = job_spec(cast("SchedulerArguments", {**asked, "spec": fields}), dict.fromkeys(before.groups, 1.0))
    if spec is not None:
        _relength(before.server, before.job, spec, bounds(asked))


def _relength(server: str, job: str, asked: JobSpec, options: Options) -> None:
    connection = Connection(server, options.credentials, options.metadata)
    try:
        found = connection.get_job(GetJobRequest(name=job), options.call_timeout)
        fields = [
            name for name in _FIELDS if asked.HasField(name) and getattr(asked, name) != getattr(found.spec, name)
        ]
        if "total_steps" not in fields:
            return
        spec = JobSpec()
        spec.CopyFrom(asked)
        request = UpdateJobRequest(
            job=Job(name=job, etag=found.etag, spec=spec),
            update_mask=FieldMask(paths=[f"spec.{name}" for name in fields]),
            reason="the trainer of this job has begun again, with another number of updates",
            author="trainer",
        )
        connection.update_job(request, options.call_timeout)
        log.info("%s has %d steps now, as its trainer has.", job, asked.total_steps)
    except grpc.RpcError as failure:
        log.warning("%s keeps its length of before: %s", job, errors.details(failure))
    finally:
        connection.close()
