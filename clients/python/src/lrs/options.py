"""The settings of a client that rarely change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

import grpc

from lrs import plain
from lrs.backoff import Backoff
from lrs.errors import ArgumentError, UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a scheduler talks to the service. Times are in seconds."""

    deadline: float = 0.05
    """How long a step may wait for the service."""
    strict: bool = False
    """Whether `step` raises `UnreachableError` or `RefusedError` instead of training on with the plan."""
    require_server: bool = False
    """Whether making a scheduler raises `UnreachableError` if the service does not answer within `start_timeout`."""
    start_timeout: float = 5.0
    """How long making a scheduler, and beginning its attempt, may wait for the service."""
    close_timeout: float = 5.0
    """How long `close` may wait for the service to store all reports."""
    call_timeout: float = 5.0
    """How long a single call in the background may take."""
    flush_interval: float = 1.0
    """How long a report on which no directive depends may wait, to be sent in a message with later reports."""
    plan_steps: int = 4096
    """How many steps ahead the plan reaches, 1 to 65536."""
    max_unacknowledged: int = 100_000
    """How many samples to keep in memory until the service has stored them; older samples go to a file."""
    max_spill_bytes: int = 1 << 30
    """The greatest size of that file."""
    spill_directory: str | None = None
    """The directory of that file. Default: the system's directory for temporary files."""
    rank: int = 0
    """The rank that this process reports as."""
    reporting_ranks: int | None = None
    """How many processes report in this attempt, 1 to 65536. Default: as many as the job says; if those are several, the world
    size of torchrun or Slurm, and 1 where `lrs.torch.LRScheduler` lets rank 0 report for all."""
    credentials: grpc.ChannelCredentials | None = None
    """Credentials for TLS. Default: the system's certificates."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Metadata to send with every call."""
    backoff: Backoff = field(default_factory=Backoff)
    """How long to wait between tries to reach the service."""
    slow_backoff: Backoff = field(default_factory=lambda: Backoff(first=1.0, longest=30.0))
    """The same while the server answers that it does not know lrs, as long as it has never served the job."""

    def __new__(cls, **given: object) -> Options:
        """Check the keywords: a misspelt one is refused with the nearest."""
        check_names(cls.__name__, given, {field.name for field in fields(cls)})
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name in ("deadline", "start_timeout", "close_timeout"):
            self._set(name, _seconds(name, getattr(self, name), is_zero_allowed=True))
        for name in ("call_timeout", "flush_interval"):
            self._set(name, _seconds(name, getattr(self, name), is_zero_allowed=False))
        for name, least, most in _WHOLE:
            if getattr(self, name) is not None:
                self._set(name, _whole(name, getattr(self, name), least, most))
        if type(self.strict).__name__ not in ("bool", "bool_"):
            raise UsageError(f"strict must be True or False, and was {self.strict!r:.60}.")
        self._set("strict", bool(self.strict))
        if self.credentials is not None and not isinstance(self.credentials, grpc.ChannelCredentials):
            raise UsageError(
                f"credentials must be what grpc.ssl_channel_credentials(…) returns, and was {type(self.credentials).__name__}."
            )
        if self.spill_directory is not None and not _is_directory(self.spill_directory):
            raise UsageError(
                f"spill_directory must be a directory that is there, and was {self.spill_directory!r:.120}."
            )
        if not isinstance(self.backoff, Backoff) or any((plain.number(wait) or 0) <= 0 for wait in self.backoff):
            raise UsageError(f"backoff must be lrs.Backoff(first, longest) in seconds, and was {self.backoff!r:.120}.")
        pairs = self.metadata.items() if isinstance(self.metadata, Mapping) else self.metadata
        try:
            self._set("metadata", tuple((name, value) for name, value in pairs))
        except (TypeError, ValueError) as problem:
            raise UsageError(
                "metadata must be pairs of texts, such as (('x-team', 'vision'),): what was given are no pairs."
            ) from problem
        if not all(isinstance(text, str) for pair in self.metadata for text in pair):
            raise UsageError("metadata must be pairs of texts, such as (('x-team', 'vision'),): a part is no text.")

    def _set(self, name: str, value: object) -> None:
        """Keep an argument as it was read. The class is frozen."""
        object.__setattr__(self, name, value)


#: The whole numbers, with the least and the greatest that are allowed.
_WHOLE: Final = (
    ("plan_steps", 1, 65536),
    ("max_unacknowledged", 1, 2**62),
    ("max_spill_bytes", 0, 2**62),
    ("rank", 0, 65535),
    ("reporting_ranks", 1, 65536),
)


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `ArgumentError` if a keyword in `given` is not among those that `what` takes."""
    names = sorted(known)
    for name in given:
        if name not in names:
            near = plain.nearest(name, names)
            hint = f"did you mean {near!r}?" if near else f"it takes {', '.join(names)}."
            raise ArgumentError(f"{what} takes no argument {name!r}: {hint}")


def _seconds(name: str, value: object, *, is_zero_allowed: bool) -> float:
    seconds = None if isinstance(value, str) else plain.number(value)
    if seconds is None:
        raise UsageError(f"{name} must be a number of seconds, such as 0.05, and was {value!r:.60}.")
    if not (seconds >= 0 if is_zero_allowed else seconds > 0):
        raise UsageError(
            f"{name} must be {'at least' if is_zero_allowed else 'more than'} 0 seconds, and was {value!r:.60}."
        )
    return seconds


def _whole(name: str, value: object, least: int, most: int) -> int:
    number = plain.whole(value)
    if number is None or not least <= number <= most:
        allowed = f"of at least {least}" if most == 2**62 else f"from {least} to {most}"
        raise UsageError(f"{name} must be a whole number {allowed}, and was {value!r:.60}.")
    return number


def _is_directory(path: object) -> bool:
    return isinstance(path, (str, os.PathLike)) and Path(path).is_dir()
