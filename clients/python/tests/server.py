"""A real `lrs serve` process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from lrs.job import job_name
from lrs.v1.job_pb2 import Job
from lrs.v1.job_service_pb2 import (
    GetJobRequest,
    ListAttemptsRequest,
    ListAttemptsResponse,
    QueryTelemetryRequest,
    QueryTelemetryResponse,
)
from lrs.v1.schedule_service_pb2 import PreviewScheduleRequest, PreviewScheduleResponse
from lrs.wire import Call, Connection

PATIENCE = 60.0


def binary() -> str:
    """The server's program: `LRS_BINARY`, or what cargo built."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parents[3] / "target"))
    found = Path(os.environ.get("LRS_BINARY", target / "debug" / "lrs"))
    if not found.exists():
        raise RuntimeError(f"{found} is not there: run `cargo build`, or set LRS_BINARY")
    return str(found)


def wait_for(what: str, condition, patience: float = PATIENCE):
    """Wait for a state, with a bound; what the condition returned."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.01)
    return found


class Server:
    """A process with its own directory and database."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.grpc = "127.0.0.1:0"
        self._starts = 0
        self._connection: Connection | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.grpc}"

    def start(self) -> None:
        """Start a process over the same database, at the same address."""
        self._starts += 1
        ready = self.directory / f"ready-{self._starts}.json"
        command = [binary(), "serve", "--database-url", f"sqlite://{self.directory}/lrs.db", "--ready-file", str(ready)]
        command += ["--grpc-listen", self.grpc, "--http-listen", "127.0.0.1:0", "--log-filter", "warn"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

        def address():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            return _read(ready) if ready.exists() else None

        self.grpc = wait_for("the server", address)["grpc"]

    def kill(self) -> None:
        """End it as a loss of power would."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def call(self, method: str, request, response):
        """One call of any service."""
        if self._connection is None:
            self._connection = Connection(self.url, None, ())
        return Call(self._connection, method, response)(request, PATIENCE)

    def job(self, job: str) -> Job:
        return self.call("JobService/GetJob", GetJobRequest(name=job_name(job)), Job)

    def attempts(self, job: str):
        request = ListAttemptsRequest(job=job_name(job))
        return self.call("JobService/ListAttempts", request, ListAttemptsResponse).attempts

    def record(self, job: str, attempt: int = 0) -> dict[str, dict[int, float]]:
        """All telemetry of a job: values by step, by series."""
        record: dict[str, dict[int, float]] = {}
        token = ""
        while True:
            request = QueryTelemetryRequest(job=job_name(job), attempt=attempt, page_size=10000, page_token=token)
            answer = self.call("JobService/QueryTelemetry", request, QueryTelemetryResponse)
            for series in answer.series:
                record.setdefault(series.name, {}).update(zip(series.step, series.value, strict=True))
            token = answer.next_page_token
            if not token:
                return record

    def preview(self, spec, steps) -> list[float]:
        """The first group's curve of a spec."""
        request = PreviewScheduleRequest(spec=spec, steps=list(steps))
        answer = self.call("ScheduleService/PreviewSchedule", request, PreviewScheduleResponse)
        known = dict(zip(answer.step, answer.groups[0].learning_rate, strict=True))
        return [known[step] for step in steps]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the program, asked of this server."""
        command = [binary(), *arguments, "--server", self.url]
        return subprocess.run(command, check=True, capture_output=True, text=True)


def _read(ready: Path):
    try:
        return json.loads(ready.read_text())
    except ValueError:
        return None
