"""The fields of a job's spec that nobody asked for: what a trainer's library and this client fill in.

They register a job that is missing. Where a registered job has others, that is no difference from what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from lrs.v1.job_pb2 import JobSpec
from lrs.written import field_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor

_fields: ContextVar[frozenset[str]] = ContextVar("lrs_implied_fields", default=frozenset())


@contextmanager
def implying(fields: Iterable[str]) -> Iterator[None]:
    """Make schedulers whose arguments of these names nobody asked for."""
    before = _fields.set(_fields.get() | frozenset(fields))
    try:
        yield
    finally:
        _fields.reset(before)


def implied_fields() -> frozenset[str]:
    """The fields that nobody asked for, of the scheduler that is being made."""
    return _fields.get()


def names_given(arguments: Mapping[str, object]) -> set[str]:
    """The names of the arguments, and of the fields in their `spec`, that a person has given."""
    spec = arguments.get("spec")
    written = spec if isinstance(spec, Mapping) else {}
    fields = {
        field_of(cast("Descriptor", JobSpec.DESCRIPTOR), str(name))
        for name, value in written.items()
        if value is not None
    }
    return {name for name, value in arguments.items() if value is not None} | {field.name for field in fields if field}


def filled_in(theirs: Mapping[str, Any], given: Mapping[str, Any]) -> Any:  # noqa: ANN401 (the arguments of both)
    """The arguments that a person has given, and those of the trainer for what they leave out, in `spec` too."""
    known = names_given(given)
    if "target_epochs" in known:
        known.add("total_steps")
    if {"controller", "controllers"} & known:
        known |= {"controller", "controllers"}
    return {name: value for name, value in theirs.items() if name not in known} | {
        name: value for name, value in given.items() if value is not None
    }
