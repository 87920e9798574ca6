"""Closes open schedulers at the end of the process, and silences them in a forked child."""

from __future__ import annotations

import atexit
import logging
import os
from typing import Protocol

from lrs.errors import LrsError

log = logging.getLogger("lrs")


class Open(Protocol):
    """An object with a connection, such as a scheduler."""

    def close(self) -> None:
        """Wait until the service has stored all reports, and end the connection."""

    def after_fork_in_child(self) -> None:
        """Do nothing from now on: the threads and the connection belong to the parent."""


#: The open schedulers of this process.
living: set[Open] = set()
#: Schedulers that a forked child keeps alive: their destructors would talk to the parent's server.
_abandoned: list[object] = []


def _close_all() -> None:
    for scheduler in list(living):
        try:
            scheduler.close()
        except LrsError as problem:
            log.warning("%s", problem)


def _after_fork_in_child() -> None:
    for scheduler in list(living):
        _abandoned.append(scheduler)
        scheduler.after_fork_in_child()
    living.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
