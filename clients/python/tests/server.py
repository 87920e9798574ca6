"""A real `lrs serve` process."""

from __future__ import annotations

import json
import os
import signal
import socket
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
from processes import run_command

PATIENCE = 60.0
#: How often a server is started before its test fails.
TRIES = 4
#: How many lines of its log are shown then.
LOG_LINES = 30


def binary() -> str:
    """The path of the server's program: `LRS_BINARY`, or else cargo's output."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parents[3] / "target"))
    found = Path(os.environ.get("LRS_BINARY", target / "debug" / "lrs"))
    if not found.exists():
        raise RuntimeError(f"{found} is not there: run `cargo build`, or set LRS_BINARY")
    return str(found)


def wait_for(what: str, condition, patience: float = PATIENCE):
    """Wait until a condition holds, at most `patience` seconds, and return its value."""
    found = look_for(condition, patience)
    assert found, f"waited {patience} s in vain for {what}"
    return found


def look_for(condition, patience: float = PATIENCE):
    """Wait until a condition holds, at most `patience` seconds, and return its last value."""
    deadline = time.monotonic() + patience
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def is_free(address: str) -> bool:
    """Whether a server could listen at this address now."""
    host, port = address.rsplit(":", 1)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, int(port)))
        except OSError:
            return False
    return True


class Server:
    """A process with its own directory and database."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.log = directory / "log"
        self.grpc = "127.0.0.1:0"
        self._starts = 0
        self._connection: Connection | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.grpc}"

    def start(self) -> None:
        """Start a process with the same database and address. Raises an error with its log after a few vain tries."""
        for attempt in range(1, TRIES + 1):
            if self._has_started():
                return
            # The system may have given the port to another program's connection while no server listened there.
            if attempt < TRIES:
                wait_for(f"{self.grpc} to be free", lambda: is_free(self.grpc))
        raise RuntimeError(f"the server at {self.grpc} did not start in {TRIES} tries; its log ends:\n{self.log_end()}")

    def log_end(self) -> str:
        """The last lines that the server logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _has_started(self) -> bool:
        self._starts += 1
        ready = self.directory / f"ready-{self._starts}.json"
        command = [binary(), "serve", "--database-url", f"sqlite://{self.directory}/lrs.db", "--ready-file", str(ready)]
        command += ["--grpc-listen", self.grpc, "--http-listen", "127.0.0.1:0", "--log-filter", "warn"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        found = look_for(lambda: _read(ready) or self.process.poll() is not None)
        if isinstance(found, dict):
            self.grpc = found["grpc"]
            return True
        ended = self.process.poll()
        self.process.kill()
        self.process.wait()
        with self.log.open("a") as log:
            how = f"was not ready after {PATIENCE:g} s" if ended is None else f"ended with {ended}"
            log.write(f"start {self._starts} {how}\n")
        return False

    def kill(self) -> None:
        """Kill the server, as a loss of power would."""
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
        """Make a call of any service."""
        if self._connection is None:
            self._connection = Connection(self.url, None, ())
        return Call(self._connection, method, response)(request, PATIENCE)

    def job(self, job: str) -> Job:
        return self.call("JobService/GetJob", GetJobRequest(name=job_name(job)), Job)

    def attempts(self, job: str):
        request = ListAttemptsRequest(job=job_name(job))
        return self.call("JobService/ListAttempts", request, ListAttemptsResponse).attempts

    def record(self, job: str, attempt: int = 0) -> dict[str, dict[int, float]]:
        """All telemetry of a job: values by step, for each series."""
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

    def telemetry(self, job: str) -> dict[str, list[tuple[int, float]]]:
        """The telemetry of a job's newest attempt: steps and values, for each series."""
        request = QueryTelemetryRequest(job=job_name(job), page_size=10000)
        answer = self.call("JobService/QueryTelemetry", request, QueryTelemetryResponse)
        return {series.name: list(zip(series.step, series.value, strict=True)) for series in answer.series}

    def preview(self, spec, steps) -> list[float]:
        """The first group's rates at some steps of a spec's schedule."""
        request = PreviewScheduleRequest(spec=spec, steps=list(steps))
        answer = self.call("ScheduleService/PreviewSchedule", request, PreviewScheduleResponse)
        known = dict(zip(answer.step, answer.groups[0].learning_rate, strict=True))
        return [known[step] for step in steps]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the program against this server."""
        return run_command([binary(), *arguments, "--server", self.url])


def _read(ready: Path):
    try:
        return json.loads(ready.read_text())
    except (FileNotFoundError, ValueError):  # not written yet, or not completely
        return None
