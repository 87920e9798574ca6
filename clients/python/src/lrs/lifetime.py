"""Closes the open schedulers when the process ends, and disables them in a forked child."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from typing import TYPE_CHECKING, Protocol

from lrs.errors import LrsError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

log = logging.getLogger("lrs")


class Open(Protocol):
    """The end of an object with a connection, such as a scheduler."""

    key: tuple[str, str, int]

    def close(self, timeout: float | None = None, outcome: str = "", reason: str = "") -> None:
        """Wait until the service has stored all reports, and end the connection; with an outcome, end the job too."""

    def give_way(self) -> None:
        """End, because this process has made another object with the same key."""


class Forkable(Protocol):
    """A scheduler, which a forked child inherits without its threads."""

    server: str
    job: str

    def after_fork_in_child(self) -> None:
        """Do nothing from now on: the threads and the connection belong to the parent."""


#: The ends of the open schedulers of this process.
living: set[Open] = set()
#: The threads that close schedulers in the background.
leaving: set[threading.Thread] = set()
#: The schedulers of this process, open or not.
_inherited: weakref.WeakSet[Forkable] = weakref.WeakSet()
#: Jobs that are completed at the end of the process, because their training may go on until then.
_complete_later: dict[tuple[str, str], Callable[[], bool]] = {}
#: What to do when all schedulers are closed at the end of the process.
_last: list[Callable[[], None]] = []
#: What a forked child keeps alive: destructors would talk to the parent's server.
_abandoned: list[object] = []


def replace(key: tuple[str, str, int]) -> None:
    """Close the open schedulers with this key, because a new one is being made."""
    _complete_later.pop(key[:2], None)
    for old in list(living):
        if old.key == key:
            old.give_way()


def complete_later(server: str, job: str, completion: Callable[[], bool]) -> None:
    """Complete a job at the end of the process, unless a new scheduler of the job is made before.

    `completion` says whether the server answers.
    """
    _complete_later[server, job] = completion


def watch_forks(scheduler: Forkable) -> None:
    """Tell a scheduler when it has been inherited by a forked child."""
    _inherited.add(scheduler)


def schedulers_of(server: str, job: str) -> list[Forkable]:
    """The schedulers of a job that this process has, open or not."""
    return [scheduler for scheduler in list(_inherited) if (scheduler.server, scheduler.job) == (server, job)]


def when_all_are_closed(action: Callable[[], None]) -> None:
    """Call `action` at the end of the process, after all schedulers are closed."""
    _last.append(action)


def _close_all() -> None:
    for scheduler in list(living):
        try:
            scheduler.close()
        except LrsError as problem:
            log.warning("%s", problem)
    for thread in list(leaving):
        thread.join()
    away: set[str] = set()
    for (server, _), completion in list(_complete_later.items()):
        if server not in away and not completion():
            away.add(server)  # the other jobs would wait as long, in vain
    for action in _last:
        action()


def _after_fork_in_child() -> None:
    for scheduler in list(_inherited):
        _abandoned.append(scheduler)
        scheduler.after_fork_in_child()
    _abandoned.extend(living)
    living.clear()
    leaving.clear()
    _complete_later.clear()
    _inherited.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
