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


def in_spec(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in the argument `spec` by the proto's names, as far as they are known and given."""
    spec = arguments.get("spec")
    if not isinstance(spec, Mapping):
        return {}
    message = cast("Descriptor", JobSpec.DESCRIPTOR)
    fields = ((field_of(message, str(name)), value) for name, value in spec.items() if value is not None)
    return {field.name: value for field, value in fields if field is not None}


def given_value(arguments: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 (any argument)
    """What a person has given for a field, as an argument or in `spec`; `None` if neither."""
    value = arguments.get(name)
    return value if value is not None else in_spec(arguments).get(name)


def names_given(arguments: Mapping[str, Any]) -> set[str]:
    """The names of the arguments, and of the fields in `spec`, that a person has given."""
    return {name for name, value in arguments.items() if value is not None} | in_spec(arguments).keys()


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
