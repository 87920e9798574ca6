"""A trainer's bounds and habits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lrs.backoff import Backoff
from lrs.errors import UsageError

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a scheduler talks to the service. Times are in seconds."""

    deadline: float = 0.05
    """The longest that a step waits for the service."""
    strict: bool = False
    """Whether to raise `UnreachableError` or `RefusedError` into the loop instead of going on with the plan."""
    start_timeout: float = 5.0
    """The longest that making a scheduler, and beginning its attempt, wait for the service."""
    close_timeout: float = 5.0
    """The longest that `close` waits for everything to become durable."""
    call_timeout: float = 5.0
    """The longest that a single call may take, in the background."""
    flush_interval: float = 1.0
    """How long a report may wait for others to share a message with, while no directive depends on it."""
    plan_steps: int = 4096
    """How many steps ahead to keep a plan for, 1 to 65536."""
    max_unacknowledged: int = 100_000
    """How many samples may wait in memory to become durable; older ones go to a file."""
    max_spill_bytes: int = 1 << 30
    """How large that file may grow."""
    spill_directory: str | None = None
    """Where that file is made. Default: the system's directory for temporary files."""
    rank: int = 0
    """The reporting rank."""
    credentials: grpc.ChannelCredentials | None = None
    """For TLS with other than the system's roots."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Sent with every call."""
    backoff: Backoff = field(default_factory=Backoff)
    """The waits between tries to reach the service."""

    def __post_init__(self) -> None:
        for name in ("deadline", "start_timeout", "close_timeout"):
            _check_number(name, getattr(self, name))
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be at least 0 seconds, and was {getattr(self, name)}.")
        for name in ("call_timeout", "flush_interval"):
            _check_number(name, getattr(self, name))
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be more than 0 seconds, and was {getattr(self, name)}.")
        if not 1 <= self.plan_steps <= 65536:
            raise UsageError(f"plan_steps must be from 1 to 65536, and was {self.plan_steps}.")
        if self.max_unacknowledged < 1:
            raise UsageError(f"max_unacknowledged must be at least 1, and was {self.max_unacknowledged}.")


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, (int, float)):
        raise UsageError(f"{name} must be a number of seconds, and was {value!r:.60}.")
