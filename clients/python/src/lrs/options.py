"""The settings of a client that rarely change."""

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
        if self.reporting_ranks is not None and not 1 <= self.reporting_ranks <= 65536:
            raise UsageError(f"reporting_ranks must be from 1 to 65536, and was {self.reporting_ranks}.")
        if self.max_unacknowledged < 1:
            raise UsageError(f"max_unacknowledged must be at least 1, and was {self.max_unacknowledged}.")


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, (int, float)):
        raise UsageError(f"{name} must be a number of seconds, and was {value!r:.60}.")
