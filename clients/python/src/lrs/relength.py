"""A training that turns out to have another length than its job: an out-of-memory error or a second `fit` changes it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from lrs import errors
from lrs.v1.job_pb2 import Job, JobSpec
from lrs.v1.job_service_pb2 import GetJobRequest, UpdateJobRequest
from lrs.wire import OFFLINE, Connection

if TYPE_CHECKING:
    from lrs.options import Options

log = logging.getLogger("lrs")

_FIELDS = ("total_steps", "steps_per_epoch", "schedule")


def relength(server: str, job: str, asked: JobSpec, options: Options) -> None:
    """Give a registered job the length of `asked`, and its schedule if that names the length.

    Never raises for the service: a job that keeps its length is found out when it is registered again.
    """
    if server.startswith(OFFLINE):
        return
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
