"""The name and the spec of the job that a trainer registers, and its check against a registered job."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf import json_format

from lrs import plain
from lrs.errors import ResumeError, UsageError
from lrs.implied import implied_fields, in_spec
from lrs.lengths import in_steps
from lrs.twice import check_once, merged_groups
from lrs.typed import objective_of, with_defaults
from lrs.v1.job_pb2 import JobSpec
from lrs.wire import bare
from lrs.written import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import Descriptor

    from lrs.arguments import SchedulerArguments
    from lrs.v1.job_pb2 import Job

log = logging.getLogger("lrs")

_PART = r"[^\W_][\w.\-]{0,62}"
#: The most characters of a group's name.
_GROUP_CHARS: Final = 100
_SHORT = re.compile(rf"(?:({_PART})/)?({_PART})")
_FULL = re.compile(rf"namespaces/({_PART})/jobs/({_PART})")


def job_name(job: object) -> str:
    """The full name `namespaces/{namespace}/jobs/{job}` of a job given by that name, `namespace/job`, or `job` alone.

    A job without a namespace is in `LRS_NAMESPACE`, or else in `default`, as on the command line.
    """
    job = job.strip() if isinstance(job, str) else job
    if not isinstance(job, str):
        raise UsageError(f"A job's name must be a string such as `namespace/job`, and was {job!r:.60}.")
    if _FULL.fullmatch(job):
        return job
    match = _SHORT.fullmatch(job)
    if match is None:
        raise UsageError(
            f"{job!r} is not a job's name: write `namespace/job`, or `job` alone for the default namespace. Each part has 1 "
            "to 63 letters, digits, `-`, `_` or `.`, and begins with a letter or digit."
        )
    namespace = match[1] or bare(os.environ.get("LRS_NAMESPACE", "")) or "default"
    if not re.fullmatch(_PART, namespace):
        raise UsageError(
            f"LRS_NAMESPACE: {namespace!r:.80} is not a namespace: write 1 to 63 letters, digits, `-`, `_` or `.`, the first "
            "of them a letter or digit."
        )
    return f"namespaces/{namespace}/jobs/{match[2]}"


def short_name(name: str) -> str:
    """`namespace/job`, as the command line takes it, from a full name."""
    match = _FULL.fullmatch(name)
    return f"{match[1]}/{match[2]}" if match is not None else name


def base_rates(groups: Mapping[str, float] | float | None) -> dict[str, float]:
    """The base rates by parameter group. A single rate is that of the group `default`."""
    named: Mapping[str, object] = groups if isinstance(groups, Mapping) else {"default": groups}
    if groups is None:
        return {}
    rates = {}
    for name, given in named.items():
        rate = plain.number(given)
        if rate is None or not math.isfinite(rate):
            raise UsageError(
                f"The base learning rate of {name!r} must be a finite number, and was {given!r:.60}: write groups=0.1, or "
                "groups={'backbone': 0.1, 'head': 0.2}."
            )
        rates[str(name)] = rate
    return rates


def job_spec(arguments: SchedulerArguments, groups: Mapping[str, float]) -> JobSpec | None:
    """The spec to register a missing job with; `None` if the arguments do not say how to schedule it.

    Raises:
        UsageError: If a field cannot be read, or is given twice with different values.
    """
    spec = arguments.get("spec")
    if spec is not None and not isinstance(spec, Mapping):
        raise UsageError(
            f"spec must be the fields of a job file's `spec`, such as {{'total_steps': 100}}, and was {spec!r:.60}."
        )
    given: dict[str, Any] = {name: arguments.get(name) for name in _FIELDS if arguments.get(name) is not None}
    written, implied = in_spec(cast("Mapping[str, Any]", arguments)), implied_fields()
    for name in written.keys() & given.keys() & implied:
        del given[name]  # nobody has asked for it
    if spec is None and not {"schedule", "controller", "controllers", "total_steps", "target_epochs"} & given.keys():
        return None
    rest = {
        name: value
        for name, value in (spec or {}).items()
        if not in_spec({"spec": {name: value}}).keys() & given.keys()
    }
    message = _message(rest | given, groups)
    if written.keys() & given.keys():
        rest = {name: value for name, value in given.items() if name not in written}
        check_once(message, _message(rest | dict(spec or {}), groups), given, written)
    if not message.groups:
        raise UsageError("Give the base learning rate: groups=0.1, or groups={'backbone': 0.1, 'head': 0.2}.")
    return message


#: The arguments that are fields of a spec.
_FIELDS: Final = (
    "total_steps",
    "target_epochs",
    "steps_per_epoch",
    "tokens_per_step",
    "schedule",
    "controllers",
    "controller",
    "tier",
    "decision_lag",
    "objective",
    "experiment",
    "arm",
    "seed",
    "labels",
)


def _message(fields: Mapping[str, Any], groups: Mapping[str, float]) -> JobSpec:
    """The spec of these fields, as people write them."""
    message, descriptor = JobSpec(), cast("Descriptor", JobSpec.DESCRIPTOR)
    has_length = bool({"total_steps", "target_epochs"} & in_spec({"spec": fields}).keys())
    try:
        document = with_defaults(descriptor, fields, has_length=has_length)
        if "objective" in document:
            document["objective"] = objective_of(document["objective"])
        read = cast("dict[str, Any]", canonical(descriptor, in_steps(descriptor, document)))
        read["groups"] = merged_groups(read.get("groups") or [], groups)
        json_format.ParseDict(read, message)
    except json_format.ParseError as problem:
        raise UsageError(
            f"The job's spec cannot be read: {str(problem).rstrip('.')}. See proto/lrs/v1/job.proto for its fields."
        ) from problem
    except RecursionError:
        raise UsageError("The job's spec cannot be read: it is nested too deeply, or within itself.") from None
    if message.tier == 0:
        message.ClearField("tier")
    return message


def check_length(job: Job, asked: JobSpec | None, first_step: int) -> None:
    """Raise `ResumeError` if the training begins past the end of the job's schedule, and does not say how long it is."""
    says = asked is not None and asked.HasField("total_steps")
    if says or not job.spec.HasField("total_steps") or not 0 < job.spec.total_steps <= first_step:
        return
    raise ResumeError(
        f"{job.name} has total_steps = {job.spec.total_steps}, so its schedule is over at step {first_step}, where this "
        f"trainer begins. Extend the job with `lrs job update {short_name(job.name)} --set spec.total_steps=N`, or train "
        "under another job name.",
        reason="PAST_THE_END",
    )


def as_registered(groups: Sequence[str], known: Sequence[str]) -> list[str]:
    """The trainer's groups by the names of the job.

    A first group without a name is `default` while it is alone, and a group that was added may have a name that was made to
    fit.
    """
    unnamed = ("default", "group0")
    names = list(groups)
    for index, (name, registered) in enumerate(zip(groups, known, strict=False)):
        if registered == fitting_name(name, index) or (index == 0 and name in unnamed and registered in unnamed):
            names[index] = registered
    return names


def fitting_name(name: str, index: int) -> str:
    """A name that the service takes for the group at this place, where it refuses the group's own."""
    place = f":{index}"
    shown = "".join(letter if letter.isprintable() else "_" for letter in name).strip() or "group"
    return shown[: _GROUP_CHARS - len(place)] + place


def check_match(job: Job, groups: Sequence[str] | None, asked: JobSpec | None, tier: int) -> None:
    """Compare a registered job with this trainer.

    Raises `UsageError` if their parameter groups differ, apart from groups added at the end of one, or if the trainer
    trains longer than the job, whose schedule would be over.
    """
    found = [group.name for group in job.spec.groups]
    groups = as_registered(groups, found) if groups is not None else None
    shared = min(len(found), len(groups if groups is not None else found))
    if groups is not None and list(groups[:shared]) != found[:shared]:
        raise UsageError(
            f"{job.name} has the parameter groups {found}, but this trainer has {list(groups)}. Give the optimizer's groups "
            "the job's names in the job's order, or train under another job name."
        )
    if groups is not None and len(groups) != len(found):
        log.warning(
            "%s has the parameter groups %s, and this trainer has %s: each sets the rates of the groups that both have.",
            job.name,
            found,
            list(groups),
        )
    if asked is not None:
        longer, known = asked.total_steps, job.spec.total_steps
        if asked.HasField("total_steps") and job.spec.HasField("total_steps") and longer > known:
            raise UsageError(
                f"{job.name} is registered with total_steps = {known}, but this trainer asks for {longer}: from step {known} "
                f"on it would train past the end of its schedule. Extend the job with `lrs job update {short_name(job.name)} "
                f"--set spec.total_steps={longer}`, which counts from the first step of the next attempt on, or train under "
                "another job name."
            )
    if job.spec.tier > tier:
        log.warning(
            "%s is registered for a trainer of tier %d, but this trainer is of tier %d, so it cannot carry out every "
            "directive. Tier 1 clips the gradient; tier 2 also keeps and restores copies of the model (give `model`).",
            job.name,
            job.spec.tier,
            tier,
        )
