"""A file for the oldest telemetry of a long outage, so that memory stays bounded and nothing is lost.

The file has no name once it is open, so that nothing is left behind however the process ends.
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
    """Messages in step order, first in first out. Makes its file when the first one comes."""

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
        """Write a message at the end; false if the disk, or the bound, does not allow it."""
        data = message.SerializeToString()
        if self._end + len(data) > self._max_bytes:
            return self._fail(f"it would grow past max_spill_bytes, {self._max_bytes}")
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
        """The first message that reports steps after a step."""
        if not self._chunks or self._chunks[-1].last_step <= step or self._file is None:
            return None
        chunk = next(chunk for chunk in self._chunks if chunk.last_step > step)
        self._file.seek(chunk.offset)
        return StreamTelemetryRequest.FromString(self._file.read(chunk.size))

    def forget_through(self, step: int) -> None:
        """Everything at or below a step is durable elsewhere."""
        while self._chunks and self._chunks[0].last_step <= step:
            self.samples -= self._chunks.popleft().samples
        if not self._chunks and self._end:
            self.clear()

    def clear(self) -> None:
        """Forget everything and give the disk space back."""
        self._chunks.clear()
        self.samples = self._end = 0
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        """Close the file, which ends it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _fail(self, problem: str) -> bool:
        if not self._has_failed:
            self._has_failed = True
            log.warning(
                "The oldest telemetry of this outage is lost: the spill file could not take it, as %s.", problem
            )
        return False
