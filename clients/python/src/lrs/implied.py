"""The fields of a job's spec that nobody asked for: what a trainer's library and this client fill in.

They register a job that is missing. Where a registered job has others, that is no difference from what was asked for.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
