"""Hands trainings that were recorded without a server over to one: `python -m lrs.upload runs/`.

Takes the files that `LRS_OFFLINE` has made, or folders of them, the oldest first. A file that was handed over before changes
nothing, so a broken hand-over is repeated.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from lrs import errors
from lrs.attempt import AttemptToken
from lrs.completion import end_job
from lrs.job import short_name
from lrs.offline_file import SUFFIX, Reading, read, start_time
from lrs.registration import Errand, find_or_register, start_attempt
from lrs.v1.job_service_pb2 import ListAttemptsRequest
from lrs.v1.learning_rate_service_pb2 import StreamTelemetryRequest
from lrs.wire import Connection, server_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lrs.v1.job_pb2 import Attempt

__all__ = ["Stored", "upload"]

_TIMEOUT: Final = 30.0


class Stored(NamedTuple):
    """What became of a file."""

    job: str
    """`namespaces/{namespace}/jobs/{job}`."""
    attempt: int
    """The number of its attempt."""
    steps: int
    """How many steps the file holds."""
    repeated: int
    """How many of them the service had already."""
    is_cut: bool
    """Whether the file's last line was incomplete, so that its steps are lost."""


def upload(path: str | Path, *, server: str | None = None) -> Stored:
    """Hand a file over, and return once the service has stored it.

    Registers the job if it is missing, and ends it if the training ended it. Repeats are harmless.

    Args:
        path: The file.
        server: `http://HOST:PORT`. Default: `LRS_SERVER`, or else `http://127.0.0.1:50051`.

    Raises:
        OSError: If the file cannot be read.
        UsageError: If it is no such file, or the job has other parameter groups.
        JobEndedError: If the job has ended without this attempt.
        RefusedError: If the service refuses the job or its telemetry.
        UnreachableError: If the service does not answer.
    """
    reading, address = read(Path(path)), server_address(server)
    recorded = reading.attempt
    errand = Errand(
        address,
        recorded.job,
        recorded.spec,
        recorded.groups or None,
        recorded.tier,
        AttemptToken(recorded.attempt_token),
        recorded.base_lrs,
        recorded.reporting_ranks,
    )
    connection = Connection(address, None, ())
    try:
        stored = _hand_over(connection, errand, reading)
    except grpc.RpcError as failure:
        if errors.is_permanent(failure):
            raise errors.refusal(failure, recorded.job, address) from failure
        raise errors.UnreachableError(f"{address}: {errors.details(failure)}.", code="UNAVAILABLE") from failure
    finally:
        connection.close()
    if reading.outcome:
        end_job(address, recorded.job, reading.outcome, reading.reason)
    return stored


def _hand_over(connection: Connection, errand: Errand, reading: Reading) -> Stored:
    steps = sum(len(message.step) for message in reading.messages)
    try:
        job = find_or_register(connection, errand, _TIMEOUT)
    except errors.JobEndedError:
        before = _with_token(_attempts(connection, errand.job), reading.attempt.attempt_token)
        if before is None:
            raise
        return Stored(errand.job, before.attempt, steps, steps, reading.is_cut)
    known = _attempts(connection, errand.job)
    before = _with_token(known, reading.attempt.attempt_token)
    if before is not None and before.attempt < max(attempt.attempt for attempt in known):
        # A later attempt goes on, and the service takes nothing more of this one.
        return Stored(errand.job, before.attempt, steps, steps, reading.is_cut)
    recorded = reading.attempt
    started = start_attempt(connection, errand, job, recorded.attempt_token, recorded.resume_step, None, _TIMEOUT)
    repeated = _send(connection, reading, started.attempt)
    return Stored(errand.job, started.attempt, steps, repeated, reading.is_cut)


def _send(connection: Connection, reading: Reading, attempt: int) -> int:
    """Send the telemetry, wait until it is stored, and return how many samples the service had already."""
    if not reading.messages:
        return 0
    recorded, last, repeated = reading.attempt, reading.messages[-1].through_step, 0

    def requests() -> Iterator[StreamTelemetryRequest]:
        yield StreamTelemetryRequest(job=recorded.job, attempt=attempt, rank=recorded.rank)
        for message in reading.messages:
            message.rank = recorded.rank
            yield message

    call = connection.stream_telemetry(requests())
    for answer in call:
        repeated = answer.repeated_samples
        if answer.conflicting_samples:
            raise errors.RefusedError(
                f"The service has other values for {answer.conflicting_samples} steps of attempt {attempt} of "
                f"{recorded.job}, the first of them {answer.conflict_step}, and keeps its own.",
                code="ALREADY_EXISTS",
            )
        if answer.durable_messages > len(reading.messages) and answer.durable_through_step >= last:
            break
    return int(repeated)


def _attempts(connection: Connection, job: str) -> list[Attempt]:
    found: list[Attempt] = []
    token = ""
    while True:
        answer = connection.list_attempts(ListAttemptsRequest(job=job, page_token=token), _TIMEOUT)
        found += answer.attempts
        token = answer.next_page_token
        if not token:
            return found


def _with_token(attempts: Sequence[Attempt], token: str) -> Attempt | None:
    return next((attempt for attempt in attempts if attempt.attempt_token == token), None)


def _files(places: Sequence[Path]) -> list[Path]:
    """The files at some places, those of a folder included, in the order in which their attempts began."""
    found = [file for place in places for file in (place.glob(f"*{SUFFIX}") if place.is_dir() else [place])]
    return sorted(found, key=start_time)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hand files over, and say what became of each. Returns the exit status: 1 if a file was not taken."""
    parser = argparse.ArgumentParser(prog="python -m lrs.upload", description=__doc__)
    parser.add_argument("places", nargs="+", type=Path, metavar="PLACE", help=f"a file *{SUFFIX}, or a folder of them")
    parser.add_argument("--server", help="http://HOST:PORT (default: LRS_SERVER, or http://127.0.0.1:50051)")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    status = 0
    try:
        files = _files(given.places)
    except (OSError, errors.LrsError) as problem:
        print(problem, file=sys.stderr)  # noqa: T201 (a command)
        return 1
    for file in files:
        try:
            stored = upload(file, server=given.server)
        except (OSError, errors.LrsError) as problem:
            print(f"{file}: {problem}", file=sys.stderr)  # noqa: T201
            status = 1
            continue
        cut = ", and its last line is incomplete" if stored.is_cut else ""
        new = stored.steps - stored.repeated
        print(  # noqa: T201
            f"{file}: attempt {stored.attempt} of {short_name(stored.job)}, {new} steps new, {stored.repeated} known{cut}"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
