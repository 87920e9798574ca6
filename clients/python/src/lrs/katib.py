"""Katib: a trial's metrics as its collectors read them, and a job's record as an observation log.

A trial's program trains with an ordinary `lrs.Scheduler` and writes its metrics with `Metrics`, for Katib's `StdOut` or
`File` collector. `python -m lrs.katib JOB` prints the observation log of a recorded job.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrs import errors, plain
from lrs.errors import UsageError
from lrs.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Metrics", "observation_log"]


class Metrics:
    """Writes a trial's metrics, a line for each report, to standard output or to the file that the collector reads."""

    def __init__(self, path: str | Path | None = None) -> None:
        """The file is opened when the first report is written.

        Args:
            path: The file of Katib's `File` collector, such as `/var/log/katib/metrics.log`. Default: standard output.
        """
        self._path = Path(path) if path is not None else None

    def report(self, **values: float) -> None:
        """Write the time and each `name=value`. Leaves out NaN and infinities, which Katib cannot represent."""
        numbers = {name: plain.number(value) for name, value in values.items()}
        wrong = next((name for name, read in numbers.items() if read is None), None)
        if wrong is not None:
            raise UsageError(f"{wrong} must be a number, and was {values[wrong]!r:.60}.")
        line = _line(datetime.now(timezone.utc), {name: read for name, read in numbers.items() if read is not None})
        if line is None:
            return
        with self._path.open("a") if self._path is not None else nullcontext(sys.stdout) as out:
            print(line, file=out, flush=True)


def observation_log(
    job: str, *, server: str | None = None, metrics: Sequence[str] = ("loss",), attempt: int | None = None
) -> dict[str, Any]:
    """A job's telemetry as Katib's `ObservationLog`, in that message's JSON form.

    Telemetry has no time of day, so the time of a value is the attempt's start plus a microsecond for each step: this keeps
    the values in order. NaN and infinities are left out.

    Args:
        job: `namespace/job`, `job` in the default namespace, or `namespaces/{namespace}/jobs/{job}`.
        server: `http://HOST:PORT`. Default: `LRS_SERVER`, or else `http://127.0.0.1:50051`.
        metrics: The names of the metrics.
        attempt: The number of the attempt. Default: the newest.

    Raises:
        RefusedError: If there is no such job or attempt, or its telemetry has been removed.
        UnreachableError: If the service does not answer.
    """
    with Record(job, server=server) as record:
        attempt = attempt or record.job().attempt
        started = record.started(attempt).ToDatetime(timezone.utc)
        logs = [
            (step, series.name, value)
            for page in record.telemetry(attempt, metrics=metrics)
            for series in page.series
            for step, value in zip(series.step, series.value, strict=True)
            if math.isfinite(value)
        ]
    return {
        "metric_logs": [
            {
                "time_stamp": _time(started + timedelta(microseconds=step)),
                "metric": {"name": name, "value": _number(value)},
            }
            for step, name, value in sorted(logs)
        ]
    }


def _line(time: datetime, values: Mapping[str, float]) -> str | None:
    pairs = [f"{name}={_number(float(value))}" for name, value in values.items() if math.isfinite(value)]
    return " ".join([_time(time), *pairs]) if pairs else None


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _number(value: float) -> str:
    # Without an exponent: not every release of the collectors reads exponents.
    return f"{Decimal(repr(value)):f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lrs.katib", description="Print a job's record as an observation log."
    )
    parser.add_argument("job", help="the job: JOB, NAMESPACE/JOB or namespaces/NAMESPACE/jobs/JOB")
    parser.add_argument("--server", help="address of the lrs server [default: LRS_SERVER]")
    parser.add_argument("--metric", action="append", help="name of a metric; may be repeated [default: loss]")
    parser.add_argument("--attempt", type=int, help="number of the attempt [default: the newest]")
    asked = parser.parse_args(arguments)
    try:
        log = observation_log(asked.job, server=asked.server, metrics=asked.metric or ["loss"], attempt=asked.attempt)
    except errors.LrsError as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(log))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
