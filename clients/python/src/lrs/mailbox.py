"""The exchange between the trainer's thread and the link's threads.

The trainer's thread appends to `inbox` and pops from `book.finals`. It never waits for the lock, which the link's threads hold.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from lrs.outbox import Outbox
from lrs.rates import RateBook
from lrs.reports import Report, is_ready, sample_of
from lrs.signals import Signal
from lrs.spill import Spill

if TYPE_CHECKING:
    from collections.abc import Callable

    from lrs.once import WarnOnce
    from lrs.options import Options
    from lrs.rates import Directive
    from lrs.v1.learning_rate_service_pb2 import (
        GetLearningRateResponse,
        StreamTelemetryRequest,
        StreamTelemetryResponse,
    )

#: A step number that no training reaches.
NEVER: Final = 1 << 62
#: A generous estimate of how long the service takes to answer, in seconds.
_ROUND_TRIP: Final = 0.01


class Mailbox:
    """Reports on their way to the service, and directives on their way to the trainer."""

    def __init__(self, options: Options, warn: WarnOnce) -> None:
        # Read and written by the trainer's thread.
        self.inbox: deque[Report] = deque()
        """Reports that the link's threads have not taken yet."""
        self.late: deque[Directive] = deque()
        """Final directives that came after their step was trained and that hold actions."""
        self.book = RateBook()
        """The final directives and the plan."""
        self.next_step = 0
        """The step that is trained next."""
        self.wake_at = NEVER
        """At this step the trainer wakes the sender, so that directives reach far enough ahead."""
        self.on_return: Callable[[], None] | None = None
        """Called once, on a link's thread, when directives reach the trainer's step again; `None` if they do."""
        # Written by the link's threads, read by the trainer's.
        self.heard = 0
        """The number of answers received on streams."""
        self.missing_ranks = ""
        """The ranks that the service waits for, in words; empty if none is missing."""
        self.known_through = -1
        """The newest step whose directive was received on a stream."""
        self.news = Signal()
        """Given when something has come for the trainer."""
        self.work = Signal()
        """Given when there is something to send."""
        self.is_urgent = False
        """Whether a directive depends on the reports that wait to be sent."""
        self.is_leaving = False
        """Whether the trainer waits for the service to store all reports."""

        self._warn = warn
        self._limit = options.max_unacknowledged
        self._outbox = Outbox(options.max_unacknowledged, Spill(options.spill_directory, options.max_spill_bytes))
        self._lock = threading.Lock()  # guards the outbox and writes to the book; never taken by the trainer's step
        self._discards = False
        # Whether the service has not said yet, on a new stream, how much telemetry it has. Later telemetry would close the
        # steps that it may have lost.
        self._is_opening = False
        self._ahead = 64
        self._low_water = 16

    # The trainer's side.

    def wake(self) -> None:
        """Send reports now, because a directive depends on them."""
        self.is_urgent = True
        self.work.give()

    def wait_for_news(self, deadline: float) -> bool:
        """Wait until something has come, or until `time.monotonic()` is `deadline`; whether something has come."""
        return self.news.take(deadline - time.monotonic())

    @property
    def waits_for_device(self) -> bool:
        """Whether a device still computes a number of the oldest report."""
        inbox = self.inbox
        return bool(inbox) and not is_ready(inbox[0])

    @property
    def unacknowledged(self) -> int:
        """The number of samples that the service has not confirmed. Takes the lock, so it is not for every step."""
        with self._lock:
            return len(self._outbox) + len(self.inbox)

    @property
    def in_memory(self) -> int:
        """The number of unconfirmed samples in memory."""
        with self._lock:
            return self._outbox.in_memory + len(self.inbox)

    # The link's side.

    def reach(self, ahead: int, *, trusts_plan: bool) -> None:
        """Note that final directives reach `ahead` steps ahead of the trainer, and whether plans can be final."""
        self._ahead = ahead
        self._low_water = max(1, ahead // 4)
        self.book.trusts_plan = trusts_plan

    def set_pace(self, steps_per_second: float) -> None:
        """Note the trainer's pace: it asks for directives when those at hand last for a round trip, and not sooner."""
        self._low_water = max(1, min(math.ceil(steps_per_second * _ROUND_TRIP), self._ahead // 2))

    def pump(self) -> None:
        """Move reports to the outbox, up to the first whose numbers are still being computed."""
        inbox, moved = self.inbox, -1
        with self._lock:
            while inbox:
                report = inbox[0]
                if not is_ready(report) and len(inbox) <= self._limit:
                    break
                inbox.popleft()
                moved = report.step
                if not self._discards:
                    self._outbox.push(sample_of(report, self._warn_of_reading))
            # The remaining reports may go with the next message, if directives reach far enough without them.
            if not inbox or moved + self._ahead >= self.next_step + self._low_water:
                self.is_urgent = False

    def begin_stream(self) -> None:
        """Prepare to send all unconfirmed samples on a new stream."""
        with self._lock:
            self._outbox.begin_stream()
            self._is_opening = self._outbox.has_acknowledged

    def next_message(self) -> StreamTelemetryRequest | None:
        """The next message for this stream, if any. It counts as sent."""
        with self._lock:
            return None if self._is_opening else self._outbox.next_message()

    def take_plan(self, answer: GetLearningRateResponse) -> None:
        """Take the plan for the steps ahead."""
        with self._lock:
            self.book.take_answer(answer, self.next_step)
            self._raise_mark()
        self._tell()

    def wants_plan(self, margin: int) -> bool:
        """Whether to ask for a new plan; see `RateBook.wants_plan`."""
        with self._lock:
            return self.book.wants_plan(self.next_step, margin)

    def take_answer(self, answer: StreamTelemetryResponse) -> None:
        """Take an answer received on a stream."""
        next_step = self.next_step
        self.heard += 1
        with self._lock:
            if self._is_opening:
                self._take_opening(answer)
            elif answer.HasField("durable_through_step"):
                self._outbox.acknowledge(answer.durable_through_step)
            for message in answer.directives:
                passed = self.book.take_final(message, next_step)
                if message.step > self.known_through:
                    self.known_through = message.step
                    if passed is not None and passed.actions:
                        self.late.append(passed)
            self._raise_mark()
        self._tell()

    def after_fork(self) -> None:
        """Take a new lock: another thread of the parent may have held the old one."""
        self._lock = threading.Lock()

    def discard(self) -> None:
        """Drop all samples and later reports, because the service refuses them."""
        with self._lock:
            self._discards = True
            self._outbox.discard()

    def close(self) -> None:
        """Close the outbox's file."""
        with self._lock:
            self._outbox.close()

    def _tell(self) -> None:
        """Tell the trainer that something has come, and the log that an outage is over."""
        self.news.give()
        on_return = self.on_return
        if on_return is not None and self.book.final_through >= self.next_step:
            self.on_return = None
            on_return()

    def _take_opening(self, answer: StreamTelemetryResponse) -> None:
        """Take the first answer on a stream: it says how much telemetry the service has."""
        if not answer.durable_messages:
            return  # directives alone
        self._is_opening = False
        through_step = answer.durable_through_step if answer.HasField("durable_through_step") else -1
        lost = self._outbox.resume(through_step)
        if lost:
            self._warn(
                "lost",
                f"The service has lost the telemetry of steps {lost.start} to {lost.stop - 1}, which was stored and is not kept"
                " here any more. These steps stay without telemetry.",
            )
        self.work.give()

    def _raise_mark(self) -> None:
        mark = self.book.final_through - self._low_water + 1
        if mark > self.next_step:
            self.wake_at = mark
        else:
            self.wake_at = NEVER
            if self.inbox:  # the trainer passed the mark before the answer came
                self.wake()

    def _warn_of_reading(self, problem: Exception) -> None:
        self._warn("reading", f"A reported number could not be read from its device and is left out: {problem}")
