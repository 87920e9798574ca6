"""The token that names an attempt: equal in the processes of a start, and different after every restart.

A launcher's names are not enough: they name an allocation or a rendezvous, in which a training may be started many times. So a
token has a nonce, which the processes of a start share. They agree on it where they meet; see `lrs.meeting`. Processes that
meet nowhere but in the service follow their rank 0 there; see `lrs.following`.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from lrs.errors import UsageError
from lrs.launch import launch
from lrs.meeting import agreed

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 200


class AttemptToken(NamedTuple):
    """The token of an attempt, or how to find it."""

    token: str
    """The token. For a process that follows its rank 0: the token to use if rank 0 begins no attempt."""
    follows: str = ""
    """How the token begins that rank 0 chooses, if this process must follow rank 0; else empty."""


def attempt_token() -> str:
    """A new token for an attempt of this process: another one in each call, as after each restart.

    Processes that report in the same attempt must share a token: give each the same as `attempt_token`. By default, the
    schedulers of processes that were started together share one; see `docs/python.md`.
    """
    return _token(launch().name, uuid.uuid4().hex)


def token_of_start(job: str) -> AttemptToken:
    """The token of the next attempt of a job, shared by the processes that were started together.

    Processes that share tokens must make their schedulers of a job in the same order.
    """
    started, nonce, number = launch(), uuid.uuid4().hex, next(_numbers[os.getpid(), job])
    if not started.is_shared:
        return AttemptToken(_token(started.name, nonce))
    name = f"{started.name}:{number}"
    common = agreed(f"lrs/{job}/{name}/{started.world}", nonce, started)
    if common is not None:
        return AttemptToken(_token(name, common))
    return AttemptToken(_token(name, nonce), _token(name, "") if started.rank > 0 else "")


def checked_token(token: object) -> str:
    """A token that a caller chose; empty if there is none. Raises `UsageError` if it is no token."""
    if token is None:
        return ""
    if not isinstance(token, str) or len(token) > _LONGEST:
        raise UsageError(f"attempt_token must be a text of at most {_LONGEST} characters, and was {token!r:.60}.")
    return token


def _token(name: str, nonce: str) -> str:
    room = _LONGEST - 1 - 32
    if len(name) > room:
        name = name[: room - 33] + ":" + uuid.uuid5(uuid.NAMESPACE_OID, name).hex
    return f"{name}:{nonce}"


#: How many schedulers this process has made, by process and job. A forked child counts anew.
_numbers: defaultdict[tuple[int, str], Iterator[int]] = defaultdict(itertools.count)
