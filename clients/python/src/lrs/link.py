"""The threads behind a scheduler: one stream to the service, opened again whenever it breaks.

The trainer's thread appends to `inbox`, takes out of `book.finals`, and never waits for a lock that these threads hold.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from lrs import errors
from lrs.job import check_match
from lrs.outbox import Outbox, Sample
from lrs.rates import Directive, RateBook, Standing, from_wire
from lrs.resume import check_lineage
from lrs.spill import Spill
from lrs.v1.job_pb2 import Job
from lrs.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from lrs.v1.learning_rate_service_pb2 import (
    GetLearningRateRequest,
    StartAttemptRequest,
    StartAttemptResponse,
    StreamTelemetryRequest,
    StreamTelemetryResponse,
)
from lrs.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lrs.options import Options
    from lrs.readings import Reading
    from lrs.v1.job_pb2 import JobSpec

log = logging.getLogger("lrs")

#: How often the keeper looks after what does not come by itself.
TICK: Final = 1.0
#: How often to look at a number that is still on a device while a directive depends on it.
_LOOK_AGAIN: Final = 0.002
#: How long an answer takes, generously.
_ROUND_TRIP: Final = 0.01
#: How long an acknowledgement may wait for directives to come down with: nobody waits for it before the end, and each
#: answer costs more than what is in it.
_PATIENCE_NANOS: Final = 250_000_000
_NEVER: Final = 1 << 62


class Report(NamedTuple):
    """What the trainer's thread hands over of a step."""

    step: int
    loss: float | Reading | None
    grad_norm: float | Reading | None
    directive: Directive | None
    learning_rate: float | None
    metrics: Mapping[str, float | Reading] | None


class Errand(NamedTuple):
    """Which job to train, and as whom."""

    server: str
    job: str
    spec: JobSpec | None
    groups: Sequence[str] | None
    tier: int
    attempt_token: str


class Link:
    """The connection of one scheduler."""

    def __init__(self, errand: Errand, options: Options) -> None:
        self.errand = errand
        # Read and written by the trainer's thread.
        self.inbox: deque[Report] = deque()
        self.late: deque[Directive] = deque()
        self.book = RateBook()
        self.next_step = 0
        self.wake_at = _NEVER
        self.first_step: int | None = None
        self.resumes: Mapping[str, object] | None = None
        # Written by the link's threads, read by the trainer's.
        self.job: Job | None = None
        self.attempt: StartAttemptResponse | None = None
        self.refusal: errors.LrsError | None = None
        self.last_failure = ""
        self.connected = False
        self.listening = False
        self.announces = False  # whether a refusal is to be logged, because nobody waits for it to be raised
        self.heard = 0  # how many answers have come down streams
        self.counts = (0, 0, 0)
        self.known_through = -1
        self.changed = threading.Event()

        self._options = options
        self._outbox = Outbox(options.max_unacknowledged, Spill(options.spill_directory, options.max_spill_bytes))
        self._lock = threading.Lock()  # the outbox and the writing of the book: never the trainer's
        self._news = _Signal()
        self._wake = _Signal()
        self._urgent = False
        self._leaving = False
        self._begun = threading.Event()
        self._closing = threading.Event()
        self._call: grpc.Call | None = None
        self._ahead = 64
        self._low_water = 16
        self._warned: set[str] = set()
        self._connection: Connection | None = None
        self._threads = [
            threading.Thread(target=self._run, name="lrs-link", daemon=True),
            threading.Thread(target=self._keep, name="lrs-keeper", daemon=True),
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    # The trainer's side.

    def begin(self, first_step: int) -> None:
        """Say which step is trained first: from then on there is an attempt to start."""
        self.first_step = first_step
        self._begun.set()

    def wake(self) -> None:
        """There is something to send now, and a directive depends on it."""
        self._urgent = True
        self._wake.give()

    def wait_for_news(self, deadline: float) -> bool:
        """Wait until something has come, no longer than to a time of `time.monotonic`."""
        return self._news.take(deadline - time.monotonic())

    @property
    def waits_for_device(self) -> bool:
        """Whether the oldest report is of a number that is still being computed."""
        inbox = self.inbox
        return bool(inbox) and not _is_ready(inbox[0])

    @property
    def unacknowledged(self) -> int:
        """How many samples are not known to be durable. Not for the steady state: it waits for what moves them."""
        with self._lock:
            return len(self._outbox) + len(self.inbox)

    @property
    def in_memory(self) -> int:
        """How many of them are in memory."""
        with self._lock:
            return self._outbox.in_memory + len(self.inbox)

    def close(self, timeout: float) -> int:
        """Wait until everything is durable, and end; the number of samples that are not."""
        deadline = time.monotonic() + timeout
        self._leaving = True
        while self.unacknowledged and self.refusal is None and time.monotonic() < deadline:
            self.wake()
            self.wait_for_news(min(deadline, time.monotonic() + 0.05))
        self._closing.set()
        self._begun.set()
        self.listening = False
        self._wake.give()
        call = self._call
        if call is not None:
            call.cancel()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=1.0)
        left = self.unacknowledged
        with self._lock:
            self._outbox.close()
        return left

    # The link's threads.

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                self._converse()
                return
            except errors.LrsError as refusal:
                self._refuse(refusal)
                return
            except (grpc.RpcError, ValueError, RuntimeError, OSError) as failure:
                # gRPC raises ValueError on a channel that was closed meanwhile, RuntimeError when Python is ending.
                if self._closing.is_set():
                    return
                self.last_failure = errors.details(failure) if isinstance(failure, grpc.RpcError) else str(failure)
                if isinstance(failure, grpc.RpcError) and errors.is_permanent(failure):
                    self._refuse(errors.refusal(failure, self.errand.job, self.errand.server))
                    return
                failures = 1 if self.connected else failures + 1
            except Exception as problem:  # noqa: BLE001 (whatever is wrong here, training goes on)
                text = f"The client of {self.errand.job} has failed and reports no more: {problem!r}."
                self._refuse(errors.LrsError(text, code="INTERNAL"))
                return
            finally:
                self.connected = self.listening = False
            self.changed.set()
            self._news.give()
            self._closing.wait(self._options.backoff.wait(failures))

    def _refuse(self, refusal: errors.LrsError) -> None:
        self.refusal = refusal
        with self._lock:
            self._outbox.discard()
        if self.announces:
            self._warn("refused", f"{refusal} Training goes on with the rates at hand.")
        self.changed.set()
        self._news.give()

    def _converse(self) -> None:
        """One connection, from its making to its end. Returns once the link is closing."""
        errand, options = self.errand, self._options
        connection = Connection(errand.server, options.credentials, options.metadata)
        try:
            if self.job is None:
                job = self._find_or_register(connection)
                check_match(job, errand.groups, errand.spec, errand.tier)
                self.job = job
            self._connection = connection
            self.connected = True
            self.changed.set()
            self._begun.wait()
            if self._closing.is_set() or self.first_step is None:
                return
            if self.attempt is None:
                self._start_attempt(connection, self.first_step)
            self._renew_plan(connection)
            self.changed.set()
            self._stream(connection)
        finally:
            self._connection = None
            connection.close()

    def _find_or_register(self, connection: Connection) -> Job:
        errand, timeout = self.errand, self._options.call_timeout
        if errand.spec is not None:
            parent, _, job_id = errand.job.partition("/jobs/")
            try:
                request = CreateJobRequest(parent=parent, job_id=job_id, job=Job(spec=errand.spec))
                return connection.create_job(request, timeout)
            except grpc.RpcError as failure:
                if errors.status_code(failure) is not grpc.StatusCode.ALREADY_EXISTS:
                    raise
        job = connection.get_job(GetJobRequest(name=errand.job), timeout)
        if job.state in (Job.STATE_COMPLETED, Job.STATE_FAILED, Job.STATE_CANCELLED):
            state = Job.State.Name(job.state).removeprefix("STATE_")
            raise errors.JobEndedError(
                f"{errand.job} has ended: it is {state}. Train under a new job name, or fork this one with `lrs job fork`.",
                code="FAILED_PRECONDITION",
                reason="JOB_ENDED",
            )
        return job

    def _start_attempt(self, connection: Connection, first_step: int) -> None:
        timeout = self._options.call_timeout
        if self.resumes is not None:
            check_lineage(connection, self.errand.job, self.resumes, timeout)
        request = StartAttemptRequest(
            job=self.errand.job, attempt_token=self.errand.attempt_token, resume_step=first_step
        )
        attempt = connection.start_attempt(request, timeout)
        ahead = 64
        if self.job is not None and self.job.spec.HasField("commit_ahead"):
            ahead = self.job.spec.commit_ahead
        if attempt.needs_telemetry:
            ahead = min(ahead, attempt.decision_lag)
        self._ahead = ahead
        self._low_water = max(1, ahead // 4)
        # Where telemetry decides, or there is more to a step than rates, each step's own directive has the last word.
        self.book.trusts_plan = not attempt.needs_telemetry
        self.attempt = attempt

    def _renew_plan(self, connection: Connection) -> None:
        attempt = self.attempt
        if attempt is None:
            return
        request = GetLearningRateRequest(
            job=self.errand.job,
            attempt=attempt.attempt,
            step=self.next_step,
            plan_steps=self._options.plan_steps,
        )
        answer = connection.get_learning_rate(request, self._options.call_timeout)
        if from_wire(answer.directive) is None:
            raise errors.RefusedError(f"The service named no rates for {self.errand.job}.", code="INTERNAL")
        with self._lock:
            self.book.take_answer(answer, self.next_step)
            self._raise_mark()
        self._news.give()

    def _stream(self, connection: Connection) -> None:
        with self._lock:
            self._outbox.begin_stream()
        over = threading.Event()
        call = connection.stream_telemetry(self._requests(over))
        self._call = call
        try:
            self.listening, self.last_failure = True, ""
            self._wake.give()
            self._news.give()
            for answer in call:
                self._take(answer)
                if self._closing.is_set():
                    return
        finally:
            over.set()
            self._call = None
            self.listening = False
            self._wake.give()
        if not self._closing.is_set():
            raise RuntimeError("the service ended the stream")

    def _requests(self, over: threading.Event) -> Iterator[StreamTelemetryRequest]:
        attempt = self.attempt
        yield StreamTelemetryRequest(
            job=self.errand.job,
            attempt=attempt.attempt if attempt is not None else 0,
            rank=self._options.rank,
            want_directives=True,
        )
        timeout = self._options.flush_interval
        waits = False  # whether the acknowledgement of the last message may come later
        while not over.is_set():
            self._wake.take(timeout)
            if over.is_set():
                break
            self._pump()
            while not over.is_set():
                with self._lock:
                    message = self._outbox.next_message()
                if message is None:
                    break
                # The stream knows whose it is from its first message.
                message.rank = self._options.rank
                waits = not self._leaving
                if waits:
                    message.acknowledge_within.nanos = _PATIENCE_NANOS
                yield message
            if waits and self._leaving:
                waits = False
                yield StreamTelemetryRequest(rank=self._options.rank)  # acknowledged at once, with all before it
            # A number on a device says nothing when it is there.
            timeout = _LOOK_AGAIN if self._urgent and self.inbox else self._options.flush_interval
        self._wake.give()  # which may have been meant for the stream after this one

    def _take(self, answer: StreamTelemetryResponse) -> None:
        next_step = self.next_step
        self.heard += 1
        with self._lock:
            if answer.HasField("durable_through_step"):
                self._outbox.acknowledge(answer.durable_through_step)
            for message in answer.directives:
                passed = self.book.take_final(message, next_step)
                if message.step > self.known_through:
                    self.known_through = message.step
                    if passed is not None and passed.actions:
                        self.late.append(passed)
            self._raise_mark()
        self.counts = (answer.repeated_samples, answer.conflicting_samples, answer.late_samples)
        if answer.conflicting_samples:
            self._warn(
                "conflict",
                f"The service has other values than this trainer for some steps of {self.errand.job}, from step "
                f"{answer.conflict_step} on, and keeps the first ones. Two processes seem to report the same attempt.",
            )
        self.listening = self.refusal is None and not self._closing.is_set()
        self._news.give()

    def _raise_mark(self) -> None:
        mark = self.book.final_through - self._low_water + 1
        if mark > self.next_step:
            self.wake_at = mark
        else:
            self.wake_at = _NEVER
            if self.inbox:  # the trainer has passed the mark while the answer was on its way
                self.wake()

    def _pump(self) -> None:
        """Move what the trainer handed over, as far as it is known, to the outbox."""
        inbox, moved = self.inbox, -1
        with self._lock:
            while inbox:
                report = inbox[0]
                if not _is_ready(report) and len(inbox) <= self._options.max_unacknowledged:
                    break
                inbox.popleft()
                moved = report.step
                if self.refusal is None:
                    self._outbox.push(self._sample(report))
            # What is still computed may come with the next message, if directives reach far enough without it.
            if not inbox or moved + self._ahead >= self.next_step + self._low_water:
                self._urgent = False

    def _sample(self, report: Report) -> Sample:
        step, loss, grad_norm, directive, rate, figures = report
        if loss.__class__ is not float:
            loss = self._number(loss)
        if grad_norm.__class__ is not float:
            grad_norm = self._number(grad_norm)
        metrics = None
        if figures:
            read = {name: self._number(value) for name, value in figures.items()}
            metrics = {name: value for name, value in read.items() if value is not None}
        if directive is None:
            return Sample(step, loss, grad_norm, rate, metrics, Standing.FINAL)
        return Sample(step, loss, grad_norm, directive.rates[0] if rate is None else rate, metrics, directive.standing)

    def _number(self, value: float | Reading | None) -> float | None:
        if value is None or isinstance(value, float):
            return value
        try:
            return value.value() if value.ready() else None
        except Exception as problem:  # noqa: BLE001 (whatever a device's library raises, training goes on)
            self._warn("reading", f"A reported number could not be read off its device and is left out: {problem}")
            return None

    def _keep(self) -> None:
        """Look after what no answer brings about: the bound of memory, and the plan."""
        seen = self.next_step
        while not self._closing.wait(TICK):
            self._pump()
            # Ask for more when what is at hand lasts for one round trip: sooner would make more messages of the same.
            pace, seen = (self.next_step - seen) / TICK, self.next_step
            self._low_water = max(1, min(math.ceil(pace * _ROUND_TRIP), self._ahead // 2))
            connection, attempt = self._connection, self.attempt
            if connection is None or attempt is None or self.refusal is not None:
                continue
            with self._lock:
                wanted = self.book.wants_plan(self.next_step, self._options.plan_steps // 4)
            if wanted:
                try:
                    self._renew_plan(connection)
                except (grpc.RpcError, ValueError, errors.LrsError) as failure:
                    # The stream will say so too, if it matters.
                    log.debug("No new plan for %s: %s", self.errand.job, failure)

    def _warn(self, about: str, text: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            log.warning("%s", text)


class _Signal:
    """A flag that one thread raises and another waits for: a lock that stands for "nothing new" while it is held."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def give(self) -> None:
        """Raise the flag."""
        if self._lock.locked():
            with contextlib.suppress(RuntimeError):  # someone else raised it just now
                self._lock.release()

    def take(self, timeout: float) -> bool:
        """Wait for the flag, and lower it."""
        return self._lock.acquire(timeout=timeout) if timeout > 0 else self._lock.acquire(blocking=False)


def _is_ready(report: Report) -> bool:
    loss, norm, figures = report.loss, report.grad_norm, report.metrics
    if loss.__class__ is not float and not _is_there(loss):
        return False
    if norm.__class__ is not float and not _is_there(norm):
        return False
    return not figures or all(_is_there(value) for value in figures.values())


def _is_there(value: float | Reading | None) -> bool:
    if value is None or isinstance(value, float):
        return True
    try:
        return value.ready()
    except Exception:  # noqa: BLE001 (reading it will say what is wrong)
        return True
