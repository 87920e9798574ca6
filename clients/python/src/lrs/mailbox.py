"""What the trainer's thread and the link's threads hand each other.

The trainer's thread appends to `inbox`, takes out of `book.finals`, and never waits for the lock that the link's threads hold.
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
    from lrs.once import WarnOnce
    from lrs.options import Options
    from lrs.rates import Directive
    from lrs.v1.learning_rate_service_pb2 import (
        GetLearningRateResponse,
        StreamTelemetryRequest,
        StreamTelemetryResponse,
    )

#: A step that is never reached.
NEVER: Final = 1 << 62
#: How long an answer takes, generously, in seconds.
_ROUND_TRIP: Final = 0.01


class Mailbox:
    """Reports on their way to the service, and directives on their way to the trainer."""

    def __init__(self, options: Options, warn: WarnOnce) -> None:
        # Read and written by the trainer's thread.
        self.inbox: deque[Report] = deque()
        """Reports that the link has not looked at yet."""
        self.late: deque[Directive] = deque()
        """Final directives with actions that came when their step had gone by."""
        self.book = RateBook()
        """Final directives, and the plan."""
        self.next_step = 0
        """The step that is trained next."""
        self.wake_at = NEVER
        """The step at which the trainer wakes the sender, so that directives reach far enough ahead."""
        # Written by the link's threads, read by the trainer's.
        self.heard = 0
        """How many answers have come down streams."""
        self.known_through = -1
        """The newest step of which a directive has come down a stream."""
        self.news = Signal()
        """Something has come for the trainer."""
        self.work = Signal()
        """There is something to send now."""
        self.is_urgent = False
        """Whether a directive depends on what is to be sent."""
        self.is_leaving = False
        """Whether the trainer waits for everything to be durable."""

        self._warn = warn
        self._limit = options.max_unacknowledged
        self._outbox = Outbox(options.max_unacknowledged, Spill(options.spill_directory, options.max_spill_bytes))
        self._lock = threading.Lock()  # the outbox and the writing of the book: never the trainer's
        self._discards = False
        self._ahead = 64
        self._low_water = 16

    # The trainer's side.

    def wake(self) -> None:
        """There is something to send now, and a directive depends on it."""
        self.is_urgent = True
        self.work.give()

    def wait_for_news(self, deadline: float) -> bool:
        """Wait until something has come, no longer than to a time of `time.monotonic`."""
        return self.news.take(deadline - time.monotonic())

    @property
    def waits_for_device(self) -> bool:
        """Whether the oldest report is of a number that is still being computed."""
        inbox = self.inbox
        return bool(inbox) and not is_ready(inbox[0])

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

    # The link's side.

    def reach(self, ahead: int, *, trusts_plan: bool) -> None:
        """An attempt has begun whose final directives reach `ahead` steps ahead of the trainer."""
        self._ahead = ahead
        self._low_water = max(1, ahead // 4)
        self.book.trusts_plan = trusts_plan

    def set_pace(self, steps_per_second: float) -> None:
        """Ask for more when what is at hand lasts for one round trip: sooner would make more messages of the same."""
        self._low_water = max(1, min(math.ceil(steps_per_second * _ROUND_TRIP), self._ahead // 2))

    def pump(self) -> None:
        """Move what the trainer handed over, as far as it is known, to the outbox."""
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
            # What is still computed may come with the next message, if directives reach far enough without it.
            if not inbox or moved + self._ahead >= self.next_step + self._low_water:
                self.is_urgent = False

    def begin_stream(self) -> None:
        """A new stream has been opened: all that is kept is to be sent on it."""
        with self._lock:
            self._outbox.begin_stream()

    def next_message(self) -> StreamTelemetryRequest | None:
        """The next message for this stream; it counts as sent."""
        with self._lock:
            return self._outbox.next_message()

    def take_plan(self, answer: GetLearningRateResponse) -> None:
        """Take an answer to the question for the steps ahead."""
        with self._lock:
            self.book.take_answer(answer, self.next_step)
            self._raise_mark()
        self.news.give()

    def wants_plan(self, margin: int) -> bool:
        """Whether to ask for a new plan; see `RateBook.wants_plan`."""
        with self._lock:
            return self.book.wants_plan(self.next_step, margin)

    def take_answer(self, answer: StreamTelemetryResponse) -> None:
        """Take what came down a stream."""
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
        self.news.give()

    def discard(self) -> None:
        """The service will take no more: forget what is kept, and what is still reported."""
        with self._lock:
            self._discards = True
            self._outbox.discard()

    def close(self) -> None:
        """Give the file of the outbox back."""
        with self._lock:
            self._outbox.close()

    def _raise_mark(self) -> None:
        mark = self.book.final_through - self._low_water + 1
        if mark > self.next_step:
            self.wake_at = mark
        else:
            self.wake_at = NEVER
            if self.inbox:  # the trainer has passed the mark while the answer was on its way
                self.wake()

    def _warn_of_reading(self, problem: Exception) -> None:
        self._warn("reading", f"A reported number could not be read off its device and is left out: {problem}")
