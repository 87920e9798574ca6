"""The file of an attempt that was trained without a server: `lrs.upload` hands it over to a server later.

Each line is a JSON object: first the attempt, then messages of telemetry in the canonical JSON of `lrs.v1`, and last, if the
training ended the job, how it ended. A process that was killed leaves its last line incomplete.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf import json_format

from lrs.errors import UsageError
from lrs.v1.job_pb2 import JobSpec
from lrs.v1.learning_rate_service_pb2 import StreamTelemetryRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX: Final = ".lrs.jsonl"
#: The version of the format.
_VERSION: Final = 1


class Recorded(NamedTuple):
    """The attempt of a file, as its trainer began it."""

    job: str
    """`namespaces/{namespace}/jobs/{job}`."""
    spec: JobSpec | None
    """The spec to register a missing job with; `None`: the job must exist."""
    groups: list[str]
    """The trainer's parameter groups in their order; empty: those of the job."""
    base_lrs: list[float]
    """The base rates of `groups`."""
    tier: int
    """The tier of the trainer."""
    attempt_token: str
    """Names the attempt, so that a file is stored once however often it is handed over."""
    resume_step: int
    """The first step of the attempt."""
    rank: int
    """The rank that has reported."""
    reporting_ranks: int | None
    """How many ranks have reported; `None`: as many as the job says."""
    start_time: float
    """When the attempt began, in seconds since 1970."""


class OfflineFile:
    """A new file, to which telemetry is added."""

    def __init__(self, path: Path, recorded: Recorded, max_bytes: int) -> None:
        """Make the file. Raises `OSError`."""
        self.path = path
        self._room = max_bytes
        # Each line is written at once, so that a killed process loses at most the line being written.
        self._file: IO[bytes] = path.open("xb", buffering=0)
        spec = None if recorded.spec is None else json_format.MessageToDict(recorded.spec)
        self._write({"lrs_offline": _VERSION, **recorded._replace(spec=None)._asdict(), "spec": spec})

    def add(self, message: StreamTelemetryRequest) -> bool:
        """Add telemetry, unless the file would grow past its bound. Raises `OSError`."""
        return self._write({"telemetry": json_format.MessageToDict(message)})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, fields: dict[str, Any]) -> bool:
        line = _line(fields)
        if len(line) > self._room:
            self._room = 0  # later telemetry would leave a gap
            return False
        self._file.write(line)
        self._room -= len(line)
        return True


def add_end(path: Path, outcome: str, reason: str) -> None:
    """Note in a file that is closed how the training ended the job. Raises `OSError`."""
    with path.open("ab") as file:
        file.write(_line({"end": {"outcome": outcome, "reason": reason[:1000]}}))


class Reading(NamedTuple):
    """A file that was read."""

    attempt: Recorded
    messages: list[StreamTelemetryRequest]
    """The telemetry, in the order of its steps."""
    outcome: str
    """How the training ended the job, such as `COMPLETED`; empty if it did not."""
    reason: str
    """Why it ended so."""
    is_cut: bool
    """Whether the last line is incomplete and was left out."""


def read(path: Path) -> Reading:
    """Read a file.

    Raises:
        OSError: If it cannot be read.
        UsageError: If it is no file of an attempt, or damaged before its last line.
    """
    lines, is_cut = _lines(path)
    first = next(lines, (1, {}))[1]
    try:
        if first.pop("lrs_offline", None) != _VERSION:
            raise UsageError(f"{path} is no file of a training without a server, or of a newer release of lrs.")
        spec = first["spec"]
        recorded = Recorded(**{**first, "spec": None if spec is None else json_format.ParseDict(spec, JobSpec())})
    except (KeyError, TypeError, json_format.ParseError) as problem:
        raise UsageError(f"{path}:1 does not describe an attempt: {problem}") from problem
    messages, end = [], {"outcome": "", "reason": ""}
    for number, fields in lines:
        try:
            if "telemetry" in fields:
                messages.append(json_format.ParseDict(fields["telemetry"], StreamTelemetryRequest()))
            else:
                end = {name: str(fields["end"][name]) for name in end}
        except (KeyError, TypeError, json_format.ParseError) as problem:
            raise UsageError(f"{path}:{number} is damaged: {problem}") from problem
    return Reading(recorded, messages, end["outcome"], end["reason"], is_cut)


def start_time(path: Path) -> float:
    """When the attempt of a file began, in seconds since 1970; 0 if that cannot be read."""
    try:
        with path.open("rb") as file:
            return float(json.loads(file.readline())["start_time"])
    except (OSError, ValueError, TypeError, LookupError):
        return 0.0


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _lines(path: Path) -> tuple[Iterator[tuple[int, dict[str, Any]]], bool]:
    """The complete lines of a file with their numbers, and whether an incomplete one follows."""
    *whole, rest = path.read_bytes().split(b"\n")

    def parsed() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(whole, 1):
            try:
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise TypeError("it is no JSON object")
            except (ValueError, TypeError) as problem:
                raise UsageError(f"{path}:{number} is damaged: {problem}") from problem
            yield number, fields

    return parsed(), bool(rest)
