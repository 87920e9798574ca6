"""What becomes of open schedulers at the end of the process, and in a forked child."""

from __future__ import annotations

import atexit
import logging
import os
from typing import Protocol

from lrs.errors import LrsError

log = logging.getLogger("lrs")


class Open(Protocol):
    """Something with a connection, such as a scheduler."""

    def close(self) -> None:
        """Wait until all that was reported is durable, and end."""

    def after_fork_in_child(self) -> None:
        """Do nothing from now on: threads and connection are the parent's."""


#: All schedulers of this process that are open.
living: set[Open] = set()
#: What forked children must not let go of, since letting go would talk to the parent's server.
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
