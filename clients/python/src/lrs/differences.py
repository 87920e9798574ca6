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
#: So many groups are named.
_GROUPS: Final = 5


def tell_differences(job: Job, asked: JobSpec, differing: Collection[str], *, strict: bool) -> None:
    """List each field in which the registered job is not as it was asked for: in a warning, or with `strict` in an error.

    `differing` are the names of the fields that the service finds different, apart from those that an order has
    changed.

    Raises:
        UsageError: With `strict`.
    """
    names = {field.name for field, _ in asked.ListFields()}
    if names & set(_STEERING):
        names |= set(_STEERING)
    told = [
        _groups(job.spec, asked)
        if name == "groups"
        else f"{name} = {_written(job.spec, name)}, which holds; this trainer asked for {_written(asked, name)}"
        for name in sorted(names & set(differing))
    ]
    told = [text for text in told if text]
    if not told:
        return
    short = short_name(job.name)
    text = (
        f"{job.name} is registered with {'. It is registered with '.join(told)}. To change the job, use `lrs job update "
        f"{short}`; to train with other settings, fork it with `lrs job fork {short}` or choose another job name."
    )
    if strict:
        raise UsageError(text, reason="OTHER_SPEC")
    log.warning("%s", text)


def _groups(found: JobSpec, asked: JobSpec) -> str:
    """The groups whose base rates differ. Groups that one of the two has at the end are no difference."""
    if found.HasField("base_lr_from"):
        return ""
    pairs = [(a, b) for a, b in zip(found.groups, asked.groups, strict=False) if a.base_lr != b.base_lr]
    if not pairs:
        return ""
    more = f" and {len(pairs) - _GROUPS} more" if len(pairs) > _GROUPS else ""
    rates, wanted = ({group.name: group.base_lr for group in column[:_GROUPS]} for column in zip(*pairs, strict=True))
    return f"the base rates {rates}, which hold; this trainer asked for {wanted}{more}"


def _written(spec: JobSpec, name: str) -> str:
    """A field as it stands in a job file, on one line."""
    fields = json_format.MessageToDict(spec, preserving_proto_field_name=True)
    value = fields.get(name)
    if value is None:
        return "none"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
