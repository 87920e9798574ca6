"""What a trainer asks for, where its job is registered with something else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format

from lrs.errors import UsageError
from lrs.job import short_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from lrs.v1.job_pb2 import Job, JobSpec

log = logging.getLogger("lrs")

#: What changes the rates. A trainer that names either asks for no other.
_STEERING: Final = ("schedule", "controllers")
#: A difference is shown up to so many characters.
_SHOWN: Final = 120


def tell_differences(job: Job, asked: JobSpec, differing: Collection[str], *, strict: bool) -> None:
    """List each field in which the registered job is not as it was asked for: in a warning, or with `strict` in an error.

    `differing` are the names of the fields that the service finds different, apart from those that an order has changed.

    Raises:
        UsageError: With `strict`.
    """
    names = {field.name for field, _ in asked.ListFields()}
    if names & set(_STEERING):
        names |= set(_STEERING)
    told = [
        f"{name} = {_written(job.spec, name)}, and not {_written(asked, name)}"
        for name in sorted(names & set(differing))
        if name != "groups" or not _only_more_groups(job.spec, asked)
    ]
    if not told:
        return
    short = short_name(job.name)
    text = (
        f"{job.name} is registered with {'; '.join(told)}, as this trainer asks for. What is registered holds. To change the "
        f"job, use `lrs job update {short}`; to train with other settings, fork it with `lrs job fork {short}` or choose "
        "another job name."
    )
    if strict:
        raise UsageError(text, reason="OTHER_SPEC")
    log.warning("%s", text)


def _only_more_groups(found: JobSpec, asked: JobSpec) -> bool:
    """Whether the groups are the same, apart from groups that one of the two has at the end."""
    pairs = list(zip(found.groups, asked.groups, strict=False))
    return found.HasField("base_lr_from") or all(a.base_lr == b.base_lr for a, b in pairs)


def _written(spec: JobSpec, name: str) -> str:
    """A field as it stands in a job file, on one line."""
    fields = json_format.MessageToDict(spec, preserving_proto_field_name=True)
    value = fields.get(name)
    if value is None:
        return "none"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
