"""The variables of the environment that this project reads, and a warning about others that look like them."""

from __future__ import annotations

import difflib
import logging
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger("lrs")

#: The variables of the options of the program `lrs`, some of which the client reads too.
KNOWN: Final = frozenset(
    f"LRS_{name}"
    for name in [
        "ABANDON_AFTER",
        "ALLOWED_HOSTS",
        "BATCH_ITEMS",
        "CONFIG",
        "DATABASE_URL",
        "DATABASE_WAIT",
        "DEVICE",
        "GRACE_PERIOD",
        "GRPC_LISTEN",
        "HTTP_LISTEN",
        "IDLE_AFTER",
        "LOG",
        "LOG_FORMAT",
        "MAX_CALLS",
        "MAX_CALLS_PER_CONNECTION",
        "MAX_CONNECTIONS",
        "MAX_JOBS",
        "MAX_LOADED_JOBS",
        "MAX_OPEN_STEPS",
        "MAX_PERSON_DECISIONS",
        "MAX_REPORTS",
        "MAX_REPORT_JOBS",
        "MAX_STREAMS",
        "MAX_STREAM_MESSAGES",
        "MAX_WATCHERS",
        "MERGE_AFTER_CHUNKS",
        "MESSAGE_BYTES",
        "NAMESPACE",
        "OWNER_LEASE",
        "QUEUE_ITEMS",
        "QUEUE_VALUES",
        "READY_FILE",
        "READ_TIMEOUT",
        "REQUEST_BYTES",
        "RESERVE_STEPS",
        "RESPONSE_BYTES",
        "RETENTION",
        "SERVER",
        "SHARDS",
        "SNAPSHOT_AFTER_RECORDS",
        "STALE_AFTER",
        "STORE_TIMEOUT",
        "TIMEOUT",
        "WATCH_EVENTS",
        "WRITE_TIMEOUT",
    ]
)
#: The variables of the client alone.
_CLIENT: Final = frozenset({"LRS_BINARY", "LRS_OFFLINE"})
#: Variables that Kubernetes and Docker set for a service called `lrs` or `lrs-...`, and those of this project's tests.
_OTHERS: Final = re.compile(
    r"LRS_(.*_)?SERVICE_(HOST|PORT).*|LRS_(.*_)?PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?"
    r"|LRS_(EXPORT_STEPS|(CHAOS|FUZZ|GIT|GOLDEN|LONG|RUSTC|SIM|UPDATE)_.*)"
)
_told: set[str] = set()


def warn_of_unknown(names: Iterable[str]) -> None:
    """Log a warning for each name that begins with `LRS_` and that nobody reads, once in a process."""
    for name in names:
        if not name.startswith("LRS_") or name in KNOWN | _CLIENT | _told or _OTHERS.fullmatch(name):
            continue
        _told.add(name)
        meant = difflib.get_close_matches(name, KNOWN | _CLIENT, n=1, cutoff=0.8)
        suggestion = f": did you mean {meant[0]}?" if meant else "."
        log.warning("The environment variable %s is not known and changes nothing%s", name, suggestion)
