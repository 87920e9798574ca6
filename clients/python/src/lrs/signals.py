"""A flag that one thread raises and another waits for."""

from __future__ import annotations

import contextlib
import threading


class Signal:
    """A flag made of a lock, which is held while the flag is down. Raising it costs less than setting an event."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def give(self) -> None:
        """Raise the flag."""
        if self._lock.locked():
            with contextlib.suppress(RuntimeError):  # another thread raised it just now
                self._lock.release()

    def take(self, timeout: float) -> bool:
        """Wait for the flag up to `timeout` seconds, and lower it. Returns whether it was raised."""
        return self._lock.acquire(timeout=timeout) if timeout > 0 else self._lock.acquire(blocking=False)
