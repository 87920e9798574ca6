"""A stream that sends telemetry and receives directives, from its opening to its end."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final

from lrs.v1.learning_rate_service_pb2 import StreamTelemetryRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lrs.mailbox import Mailbox
    from lrs.once import WarnOnce
    from lrs.options import Options
    from lrs.v1.learning_rate_service_pb2 import StreamTelemetryResponse
    from lrs.wire import Connection

#: How often to look at a number that is still on a device while a directive depends on it, in seconds.
_LOOK_AGAIN: Final = 0.002
#: How long the service may keep an acknowledgement back, to send it together with directives: before the end nobody
#: waits for it, and an answer of its own would cost more than it holds.
_PATIENCE_NANOS: Final = 250_000_000


class Stream:
    """Sends a mailbox's messages, and hands it the answers."""

    def __init__(
        self, connection: Connection, mailbox: Mailbox, job: str, attempt: int, options: Options, warn: WarnOnce
    ) -> None:
        """Open the stream. It sends all samples of the mailbox that the service has not confirmed."""
        self._mailbox = mailbox
        self._job = job
        self._attempt = attempt
        self._options = options
        self._warn = warn
        self._is_over = threading.Event()
        mailbox.begin_stream()
        self._call = connection.stream_telemetry(self._requests())

    def run(self, closing: threading.Event) -> None:
        """Take answers until the service ends the stream or `closing` is set. Raises `grpc.RpcError` if the stream breaks."""
        try:
            for answer in self._call:
                self._take(answer)
                if closing.is_set():
                    return
        finally:
            self._is_over.set()
            self._mailbox.work.give()

    def cancel(self) -> None:
        """End the stream from another thread."""
        self._call.cancel()

    def _requests(self) -> Iterator[StreamTelemetryRequest]:
        mailbox, options, is_over = self._mailbox, self._options, self._is_over
        yield StreamTelemetryRequest(job=self._job, attempt=self._attempt, rank=options.rank, want_directives=True)
        timeout = options.flush_interval
        waits = False  # whether the service may keep the last message's acknowledgement back
        while not is_over.is_set():
            mailbox.work.take(timeout)
            if is_over.is_set():
                break
            mailbox.pump()
            while not is_over.is_set():
                message = mailbox.next_message()
                if message is None:
                    break
                # The first message has named the job and the attempt.
                message.rank = options.rank
                waits = not mailbox.is_leaving
                if waits:
                    message.acknowledge_within.nanos = _PATIENCE_NANOS
                yield message
            if waits and mailbox.is_leaving:
                waits = False
                yield StreamTelemetryRequest(
                    rank=options.rank
                )  # the service acknowledges this and all messages before it at once
            # A device does not notify the host when a number is computed, so look again soon.
            timeout = _LOOK_AGAIN if mailbox.is_urgent and mailbox.inbox else options.flush_interval
        mailbox.work.give()  # this stream may have taken a signal meant for the next

    def _take(self, answer: StreamTelemetryResponse) -> None:
        self._mailbox.take_answer(answer)
        missing = self._mailbox.missing_ranks = answer.missing_ranks
        if missing:
            self._warn("missing", f"{self._job} waits for other ranks: {missing}.")
        for notice in answer.notices:
            # The same sentence about another step or value is the same subject.
            self._warn(f"notice: {re.sub(r'[0-9.]+', '#', notice)}", f"{self._job}: {notice}.")
        if answer.conflicting_samples:
            self._warn(
                "conflict",
                f"For some steps of {self._job}, from step {answer.conflict_step} on, the service has other values than this "
                "trainer reports, and keeps its own. Two processes seem to report the same attempt.",
            )
