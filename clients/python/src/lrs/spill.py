"""A file for the oldest telemetry of a long outage: it bounds the memory without losing telemetry.

The open file has no name, so it disappears however the process ends.
"""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from typing import IO, NamedTuple

from lrs.v1.learning_rate_service_pb2 import StreamTelemetryRequest

log = logging.getLogger("lrs")


class _Chunk(NamedTuple):
    offset: int
    size: int
    last_step: int
    samples: int


class Spill:
    """Messages in step order, first in, first out. Makes the file for the first message."""

    def __init__(self, directory: str | None, max_bytes: int) -> None:
        self.samples = 0
        """How many samples are in the file."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._chunks: deque[_Chunk] = deque()
        self._file: IO[bytes] | None = None
        self._end = 0
        self._has_failed = False

    def append(self, message: StreamTelemetryRequest) -> bool:
        """Write a message at the end. Returns false if the disk or the bound does not allow it."""
        data = message.SerializeToString()
        if self._end + len(data) > self._max_bytes:
            return self._fail(f"the file would grow past max_spill_bytes, {self._max_bytes}")
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="lrs-spill-", dir=self._directory)  # noqa: SIM115 (kept)
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
        except OSError as problem:
            return self._fail(str(problem))
        self._chunks.append(_Chunk(self._end, len(data), message.through_step, len(message.step)))
        self._end += len(data)
        self.samples += len(message.step)
        return True

    def after(self, step: int) -> StreamTelemetryRequest | None:
        """The first message that reports a step after `step`, if any."""
        if not self._chunks or self._chunks[-1].last_step <= step or self._file is None:
            return None
        chunk = next(chunk for chunk in self._chunks if chunk.last_step > step)
        self._file.seek(chunk.offset)
        return StreamTelemetryRequest.FromString(self._file.read(chunk.size))

    def forget_through(self, step: int) -> None:
        """Drop the messages up to a step, which the service has stored."""
        while self._chunks and self._chunks[0].last_step <= step:
            self.samples -= self._chunks.popleft().samples
        if not self._chunks and self._end:
            self.clear()

    def clear(self) -> None:
        """Drop all messages and free the disk space."""
        self._chunks.clear()
        self.samples = self._end = 0
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file, which deletes it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _fail(self, problem: str) -> bool:
        if not self._has_failed:
            self._has_failed = True
            log.warning(
                "The oldest telemetry of this outage is lost, because it could not be written to the spill file: %s.",
                problem,
            )
        return False
