"""The job that a trainer registers, or finds registered."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from lrs.errors import UsageError
from lrs.v1.job_pb2 import JobSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lrs.v1.job_pb2 import Job

log = logging.getLogger("lrs")

_PART = r"[^\W_][\w.\-]{0,62}"
_SHORT = re.compile(rf"(?:({_PART})/)?({_PART})")
_FULL = re.compile(rf"namespaces/({_PART})/jobs/({_PART})")


def job_name(job: str) -> str:
    """`namespaces/{namespace}/jobs/{job}` for that itself, for `namespace/job`, or for `job` in the default namespace.

    The default namespace is `LRS_NAMESPACE`, or else `default`, as on the command line.
    """
    if _FULL.fullmatch(job):
        return job
    match = _SHORT.fullmatch(job)
    if match is None:
        raise UsageError(
            f"{job!r} is no job name; write `namespace/job`, or `job` alone for the default namespace. Each part has 1 to "
            "63 letters, digits, `-`, `_` or `.`, and begins with a letter or digit."
        )
    namespace = match[1] or os.environ.get("LRS_NAMESPACE") or "default"
    return f"namespaces/{namespace}/jobs/{match[2]}"


def job_spec(
    *,
    groups: Mapping[str, float] | float | None,
    spec: Mapping[str, Any] | None,
    schedule: Mapping[str, Any] | None,
    controller: str | None,
    controllers: Sequence[Mapping[str, Any]] | None,
    fields: Mapping[str, Any],
) -> JobSpec | None:
    """What to register if there is no such job yet; `None` if nothing was said that would say how to schedule it.

    `spec`, `schedule` and `controllers` are written as in a job file.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    asks = spec is not None or schedule is not None or controller is not None or controllers is not None
    if not asks and given.get("total_steps") is None:
        return None
    message = JobSpec()
    document: dict[str, Any] = dict(spec or {}) | given
    if schedule is not None:
        document["schedule"] = schedule
    if controllers is not None:
        document["controllers"] = list(controllers)
    if controller is not None:
        document["controller"] = controller
    try:
        json_format.ParseDict(document, message)
    except json_format.ParseError as problem:
        raise UsageError(f"The job can not be read: {problem}. See proto/lrs/v1/job.proto for its fields.") from problem
    if groups is not None and not message.groups:
        named = groups if isinstance(groups, dict) else {"default": groups}
        for name, base_lr in named.items():
            message.groups.add(name=name, base_lr=base_lr)
    if not message.groups:
        raise UsageError("Give the base learning rate: groups=0.1, or groups={'backbone': 0.1, 'head': 0.2}.")
    return message


def check_match(job: Job, groups: Sequence[str] | None, asked: JobSpec | None, tier: int) -> None:
    """Compare a job that was registered before with what this trainer has.

    Raises `UsageError` if the parameter groups are others, and warns of the rest.
    """
    found = [group.name for group in job.spec.groups]
    if groups is not None and list(groups) != found:
        raise UsageError(
            f"{job.name} has the parameter groups {found}, and this trainer has {list(groups)}. Give the optimizer's groups "
            "these names in this order, or train under another job name."
        )
    if asked is not None:
        for field in ("total_steps", "decision_lag"):
            if asked.HasField(field) and getattr(asked, field) != getattr(job.spec, field):
                log.warning(
                    "%s was registered before with %s = %s, which stands; %s was asked for now. To change it, use "
                    "`lrs job update`, or train under another job name.",
                    job.name,
                    field,
                    getattr(job.spec, field),
                    getattr(asked, field),
                )
    if job.spec.tier > tier:
        log.warning(
            "%s was registered for a trainer of tier %d and this one is of tier %d, so it can not do all that it will be "
            "told. Tier 1 clips the gradient, tier 2 keeps and restores copies of the model too (give `model`).",
            job.name,
            job.spec.tier,
            tier,
        )
