"""Whether gRPC works in this process: it does not in a child of a process that has used it, unless it prepares for forks."""

from __future__ import annotations

import os
from typing import Final

#: The processes that have made a connection.
_users: Final[set[int]] = set()


def note_connection() -> None:
    """Note that this process uses gRPC."""
    _users.add(os.getpid())


def fork_hint() -> str:
    """A sentence that says why this process cannot connect, with a space before it; empty if it can."""
    forked = bool(_users - {os.getpid()})
    if not forked or os.environ.get("GRPC_ENABLE_FORK_SUPPORT") not in ("0", "false", "no"):
        return ""
    return (
        " This process was forked from one that had used lrs, and gRPC does not work after that: start processes by `spawn`, "
        "or set the environment variable GRPC_ENABLE_FORK_SUPPORT=1 for all of them."
    )
