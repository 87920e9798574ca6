"""The threads behind a scheduler: they connect to the service, and connect again whenever the connection breaks."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

import grpc

from lrs import errors
from lrs.errors import sentence
from lrs.following import Following
from lrs.lengths import length_of
from lrs.mailbox import Mailbox
from lrs.once import WarnOnce
from lrs.phases import Phases
from lrs.proxies import proxy_hint
from lrs.rates import from_wire
from lrs.registration import find_or_register, grown, grown_one_by_one, start_attempt, steps_ahead
from lrs.stream import Stream
from lrs.v1.job_service_pb2 import GetJobRequest
from lrs.v1.learning_rate_service_pb2 import GetLearningRateRequest
from lrs.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lrs.options import Options
    from lrs.registration import Errand
    from lrs.v1.job_pb2 import Job
    from lrs.v1.learning_rate_service_pb2 import StartAttemptResponse

log = logging.getLogger("lrs")

#: How often the keeper runs, in seconds.
TICK: Final = 1.0


class Link:
    """A scheduler's connection to the service."""

    is_offline = False
    """Whether there is no service, and reports go to a file."""

    def __init__(self, errand: Errand, options: Options) -> None:
        self.errand = errand
        self._warn = WarnOnce()
        self.mailbox = Mailbox(options, self._warn)
        # Written by the trainer's thread.
        self.first_step: int | None = None
        self.resumes: Mapping[str, object] | None = None
        self.announces = False  # whether to log a refusal, because no call raises it
        # Written by the link's threads, read by the trainer's.
        self.job: Job | None = None
        self.attempt: StartAttemptResponse | None = None
        self.token = "" if errand.attempt_token.follows else errand.attempt_token.token
        self.refusal: errors.LrsError | None = None
        self.setback: errors.LrsError | None = None  # a refusal that is tried again, as it may come from a proxy
        self.last_failure = ""
        self.connected = False
        self.listening = False
        self.changed = threading.Event()
        self.phases = Phases()

        self._options = options
        self._begun = threading.Event()
        self._telling = threading.Lock()
        self._told_groups = len(errand.groups or ())  # how many of them the service knows or refuses
        self._is_forgotten = False  # whether the service has lost the attempt
        self._was_served = False  # whether the present connection has given a plan
        self._hurries = threading.Event()  # whether to try again at once, because the end waits
        self._closing = threading.Event()
        self._stream: Stream | None = None
        self._connection: Connection | None = None
        self._threads = [
            threading.Thread(target=self._run, name="lrs-link", daemon=True),
            threading.Thread(target=self._keep, name="lrs-keeper", daemon=True),
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def await_registration(self, timeout: float) -> None:
        """Wait until the service has found, registered or refused the job; at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.job is None and self.refusal is None:
            self.changed.clear()
            unknown = self.job is None and self.refusal is None
            if unknown and not self.changed.wait(max(0.0, deadline - time.monotonic())):
                return

    @property
    def length(self) -> int:
        """The length of the job's training in steps, as far as it is known; 0 if it is open-ended."""
        job, asked = self.job, self.errand.spec
        return length_of(job.spec if job is not None else asked) if job or asked else 0

    def length_now(self, timeout: float) -> int:
        """The length after orders that have changed it in the meantime. Asks the service, for at most `timeout` seconds."""
        connection = self._connection
        if connection is not None:
            try:
                self.job = connection.get_job(GetJobRequest(name=self.errand.job), timeout)
            except (grpc.RpcError, ValueError) as failure:  # ValueError: the connection has just been closed
                log.debug("The length of %s is not known anew: %s", self.errand.job, failure)
        return self.length

    def begin(self, first_step: int) -> None:
        """Let the threads start the attempt at `first_step`."""
        self.first_step = first_step
        self._begun.set()

    def grow(self, groups: Mapping[str, float]) -> None:
        """Note the trainer's groups, of which the last are new; the keeper makes them known."""
        self.errand = self.errand._replace(groups=list(groups), base_lrs=tuple(groups.values()))

    def finish(self, outcome: str, reason: str) -> None:
        """Note how the training ended the job, if there is no service to tell."""

    def close(self, timeout: float) -> int:
        """Wait until the service has stored all samples, end the threads, and return the number of samples left."""
        mailbox, deadline = self.mailbox, time.monotonic() + timeout
        mailbox.is_leaving = True
        self._hurries.set()
        while mailbox.unacknowledged and self.refusal is None and time.monotonic() < deadline:
            mailbox.wake()
            mailbox.wait_for_news(min(deadline, time.monotonic() + 0.05))
        connection = self._connection
        if connection is not None and self.attempt is not None and self.refusal is None:
            self._tell_groups(connection)
        self._closing.set()
        self._hurries.set()
        self._begun.set()
        self.listening = False
        mailbox.work.give()
        stream = self._stream
        if stream is not None:
            stream.cancel()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=1.0)
        left = mailbox.unacknowledged
        mailbox.close()
        return left

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
                # gRPC raises ValueError on a closed channel, and RuntimeError while Python is ending.
                if self._closing.is_set():
                    return
                if isinstance(failure, grpc.RpcError) and not self._survives(failure):
                    self._refuse(errors.refusal(failure, self.errand.job, self.errand.server))
                    return
                if not isinstance(failure, grpc.RpcError):
                    self.last_failure = str(failure)
                failures = 1 if self._was_served else failures + 1
            except Exception as problem:  # noqa: BLE001 (training goes on, whatever the bug)
                text = f"The client of {self.errand.job} has failed and reports nothing more: {problem!r}."
                self._refuse(errors.LrsError(text, code="INTERNAL"))
                return
            finally:
                self.connected = self.listening = False
            self.changed.set()
            self.mailbox.news.give()
            self._wait(failures)

    def _survives(self, failure: grpc.RpcError) -> bool:
        """Note a failed call; whether to try again. Only the service itself, by its reason, can refuse for good."""
        errand = self.errand
        self.last_failure, self.setback = errors.details(failure), None
        if self.attempt is not None and errors.is_unknown_job(failure):
            self._is_forgotten, self.job = True, None
        elif self.attempt is not None and errors.is_unknown_attempt(failure):
            self._is_forgotten = True
        elif errors.is_final(failure):
            return False
        elif errors.is_permanent(failure):
            self.setback = errors.refusal(failure, errand.job, errand.server)
            self.last_failure = str(self.setback).rstrip(".")
        else:
            self.last_failure += proxy_hint(errand.server)
        return True

    def _wait(self, failures: int) -> None:
        """Wait until the next try."""
        options = self._options
        # An address that never served the job may be wrong, so it is asked rarely once training has begun.
        is_slow = self.setback is not None and self.job is None and self.announces
        backoff = options.slow_backoff if is_slow else options.backoff
        if self.mailbox.is_leaving:
            self._closing.wait(options.backoff.wait(failures))
        else:
            self._hurries.wait(backoff.wait(failures))

    def _refuse(self, refusal: errors.LrsError) -> None:
        self.refusal = refusal
        self.mailbox.discard()
        if self.announces:
            # With `strict` the next step raises it.
            goes_on = "" if self._options.strict else " Training goes on with the rates that are known."
            self._warn("refused", sentence(str(refusal)) + goes_on)
        self.changed.set()
        self.mailbox.news.give()

    def _converse(self) -> None:
        """Make a connection and use it until it breaks or the link closes. Returns only when the link closes."""
        errand, options = self.errand, self._options
        connection = Connection(errand.server, options.credentials, options.metadata)
        self._was_served = False
        try:
            job = self.job or find_or_register(connection, errand, options.call_timeout)
            self.job = job
            self._connection = connection
            self.connected = True
            self.changed.set()
            self._begun.wait()
            if self._closing.is_set() or self.first_step is None:
                return
            attempt = self.attempt
            if attempt is None or self._is_forgotten:
                if not self.token and not self._follow(connection):
                    return
                resumes = self.resumes if attempt is None else None
                attempt = start_attempt(
                    connection, errand, job, self.token, self.first_step, resumes, options.call_timeout
                )
                # If telemetry can change the rates, or a directive can hold more than rates, a plan is never final.
                self.mailbox.reach(steps_ahead(job, attempt), trusts_plan=not attempt.needs_telemetry)
                if self._is_forgotten:
                    log.warning(
                        "The service had lost this attempt of %s, as when a backup of its database is restored. It is attempt "
                        "%d now, and the service gets what this trainer still holds of it.",
                        errand.job,
                        attempt.attempt,
                    )
                self.attempt, self._is_forgotten = attempt, False
            self._renew_plan(connection, attempt)
            self._was_served = True
            self.changed.set()
            self._listen(connection, attempt)
        finally:
            self._connection = None
            connection.close()

    def _follow(self, connection: Connection) -> bool:
        """Take the token that rank 0 of this start has chosen; false if the link closes before."""
        own, tries = self.errand.attempt_token, 0
        following = Following(own)
        while not self._closing.is_set():
            self.token = following.token(connection, self.errand.job, self._options.call_timeout) or ""
            if self.token:
                return True
            self.last_failure = "rank 0 has begun no attempt yet"
            tries += 1
            self._closing.wait(self._options.backoff.wait(tries))
        return False

    def _renew_plan(self, connection: Connection, attempt: StartAttemptResponse) -> None:
        request = GetLearningRateRequest(
            job=self.errand.job,
            attempt=attempt.attempt,
            step=self.mailbox.next_step,
            plan_steps=self._options.plan_steps,
        )
        answer = connection.get_learning_rate(request, self._options.call_timeout)
        if from_wire(answer.directive) is None:
            raise errors.RefusedError(f"The service named no rates for {self.errand.job}.", code="INTERNAL")
        self.mailbox.take_plan(answer)

    def _listen(self, connection: Connection, attempt: StartAttemptResponse) -> None:
        stream = Stream(connection, self.mailbox, self.errand.job, attempt.attempt, self._options, self._warn)
        self._stream = stream
        try:
            self.listening, self.last_failure, self.setback = True, "", None
            self.mailbox.work.give()
            self.mailbox.news.give()
            if self._closing.is_set():  # `close` has missed this stream
                stream.cancel()
            stream.run(self._closing)
        finally:
            self._stream = None
            self.listening = False
        if not self._closing.is_set():
            raise RuntimeError("the service ended the stream")

    def _keep(self) -> None:
        """Now and then, bound the memory and renew the plan: no answer of the service triggers these."""
        mailbox = self.mailbox
        seen = mailbox.next_step
        while not self._closing.wait(TICK):
            mailbox.pump()
            pace, seen = (mailbox.next_step - seen) / TICK, mailbox.next_step
            mailbox.set_pace(pace)
            connection, attempt = self._connection, self.attempt
            if connection is None or attempt is None or self.refusal is not None:
                continue
            self._tell_groups(connection)
            self.phases.renew(connection, self.errand.job, self._options.call_timeout)
            if mailbox.wants_plan(self._options.plan_steps // 4):
                try:
                    self._renew_plan(connection, attempt)
                except (grpc.RpcError, ValueError, errors.LrsError) as failure:
                    # A failure that matters breaks the stream too.
                    log.debug("No new plan for %s: %s", self.errand.job, failure)

    def _tell_groups(self, connection: Connection) -> None:
        """Make the groups known that the trainer has added, unless an order has added them already."""
        with self._telling:
            self._tell_new_groups(connection)

    def _tell_new_groups(self, connection: Connection) -> None:
        groups = len(self.errand.groups or ())
        if groups <= self._told_groups:
            return
        errand, timeout = self.errand, self._options.call_timeout
        try:
            job = connection.get_job(GetJobRequest(name=errand.job), timeout)
            problem = ""
            try:
                self.job = grown(connection, errand, job, timeout)
            except grpc.RpcError as failure:
                if errors.status_code(failure) is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                self.job, problem = grown_one_by_one(connection, errand, job, timeout)
            self._told_groups = groups
        except (grpc.RpcError, ValueError) as failure:  # ValueError: the connection has just been closed
            if not isinstance(failure, grpc.RpcError) or not errors.is_permanent(failure):
                return
            self._told_groups = groups
            problem = f"groups: {errors.details(failure)}"
        if problem:
            text = f"{errand.job} does not get this trainer's new parameter {problem}"
            self._warn(f"groups {groups}", f"{sentence(text)} They keep the trainer's own rates.")
