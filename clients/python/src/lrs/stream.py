"""One stream of telemetry up and directives down, from its opening to its end."""

from __future__ import annotations

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
#: How long an acknowledgement may wait for directives to come down with: nobody waits for it before the end, and each
#: answer costs more than what is in it.
_PATIENCE_NANOS: Final = 250_000_000


class Stream:
    """Sends what a mailbox has to send, and hands it the answers."""

    def __init__(
        self, connection: Connection, mailbox: Mailbox, job: str, attempt: int, options: Options, warn: WarnOnce
    ) -> None:
        """Open the stream. Everything in the mailbox that is not durable is sent on it again."""
        self._mailbox = mailbox
        self._job = job
        self._attempt = attempt
        self._options = options
        self._warn = warn
        self._is_over = threading.Event()
        mailbox.begin_stream()
        self._call = connection.stream_telemetry(self._requests())

    def run(self, closing: threading.Event) -> None:
        """Take answers until the service ends the stream or `closing` is set; raises `grpc.RpcError` when it breaks."""
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
        waits = False  # whether the acknowledgement of the last message may come later
        while not is_over.is_set():
            mailbox.work.take(timeout)
            if is_over.is_set():
                break
            mailbox.pump()
            while not is_over.is_set():
                message = mailbox.next_message()
                if message is None:
                    break
                # The stream knows whose it is from its first message.
                message.rank = options.rank
                waits = not mailbox.is_leaving
                if waits:
                    message.acknowledge_within.nanos = _PATIENCE_NANOS
                yield message
            if waits and mailbox.is_leaving:
                waits = False
                yield StreamTelemetryRequest(rank=options.rank)  # acknowledged at once, with all before it
            # A number on a device says nothing when it is there.
            timeout = _LOOK_AGAIN if mailbox.is_urgent and mailbox.inbox else options.flush_interval
        mailbox.work.give()  # which may have been meant for the stream after this one

    def _take(self, answer: StreamTelemetryResponse) -> None:
        self._mailbox.take_answer(answer)
        if answer.conflicting_samples:
            self._warn(
                "conflict",
                f"The service has other values than this trainer for some steps of {self._job}, from step "
                f"{answer.conflict_step} on, and keeps the first ones. Two processes seem to report the same attempt.",
            )
