"""A server of this process, for a training on one machine where nobody has started a server.

It listens on free ports of the loopback, keeps its database in the user's data directory, and ends with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from lrs.errors import UnreachableError
from lrs.lifetime import when_all_are_closed
from lrs.wire import DEFAULT_SERVER, parse_server

#: How long a server may take to start, in seconds.
_PATIENCE: Final = 30.0
#: The port for trainers, and that of the pages, unless a server is told others.
_USUAL_PORTS: Final = (50051, 8080)


class Place(NamedTuple):
    """Where a server is."""

    server: str
    """The address for trainers."""
    pages: str
    """The address of its pages; empty if it is not known."""
    database: str = ""
    """The file of the database, if this process has started the server."""


def find_or_start() -> Place:
    """The server of this machine: at the default address, or a private one, which is started if there is none.

    Raises:
        UnreachableError: If there is no server, and none can be started.
    """
    if answers(DEFAULT_SERVER):
        return Place(DEFAULT_SERVER, pages_of(DEFAULT_SERVER))
    home = _data_directory()
    home.mkdir(parents=True, exist_ok=True)
    known = _read(home / "private.json")
    if known is not None and answers(known.server):
        return known
    with _lock(home / "private.lock") as has_lock:
        # Another process may be starting a server with the same database.
        return _start(home, home / "private.db" if has_lock else home / f"private-{os.getpid()}.db")


def pages_of(server: str) -> str:
    """The address of a server's pages, if it has the usual ports and the pages can be reached; else empty."""
    target, is_secure = parse_server(server)
    host, _, port = target.rpartition(":")
    usual, pages = _USUAL_PORTS
    if is_secure or int(port) != usual:
        return ""
    connection = http.client.HTTPConnection(host.strip("[]"), pages, timeout=1.0)
    try:
        connection.request("GET", "/", headers={"Accept": "application/json"})
        is_ours = "fleet" in json.loads(connection.getresponse().read(1 << 16))["endpoints"]
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return ""  # nothing there, or another program
    finally:
        connection.close()
    return f"http://{host}:{pages}" if is_ours else ""


def answers(address: str) -> bool:
    """Whether something listens at an address, such as `http://127.0.0.1:50051`."""
    host, _, port = parse_server(address)[0].rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
        return True
    return False


def installed_program() -> str | None:
    """The program of the package `lrs-server` in this Python's environment, whether or not that is on the PATH."""
    name = "lrs.exe" if os.name == "nt" else "lrs"
    try:
        package = metadata.distribution("lrs-server")
    except metadata.PackageNotFoundError:
        return None
    recorded = [file.locate() for file in package.files or () if file.name == name]
    # `pip install --target` moves the program, and does not change the record.
    for place in (*recorded, package.locate_file(f"bin/{name}")):
        if os.access(str(place), os.X_OK):
            return os.path.realpath(str(place))
    return None


def _start(home: Path, database: Path) -> Place:
    program = os.environ.get("LRS_BINARY") or installed_program() or shutil.which("lrs")
    if program is None:
        raise UnreachableError(
            "There is no server at this machine, and the program `lrs` to start one is neither installed beside this Python "
            "nor on the PATH. Install it with `pip install lrs-server`, or set LRS_BINARY to its path, or LRS_SERVER to the "
            "address of a server.",
            code="UNAVAILABLE",
        )
    ready, log = home / f"ready-{os.getpid()}.json", home / "private.log"
    ready.unlink(missing_ok=True)
    command = [program, "serve", "--database-url", f"sqlite://{database}", "--ready-file", str(ready)]
    command += ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-filter", "warn"]
    with log.open("ab") as output:
        # In a session of its own, so that Ctrl-C ends the training first.
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    deadline = time.monotonic() + _PATIENCE
    place = None
    while place is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
        place = _read(ready, str(database))
    if place is None:
        process.kill()
        raise UnreachableError(f"{program} serve did not start; its log is {log}.", code="UNAVAILABLE")
    if database.name == "private.db":
        ready.replace(home / "private.json")
    else:
        ready.unlink()
    when_all_are_closed(_Stop(process))
    return place


class _Stop:
    """Stops a server at the end of the process that has started it, and not at the end of a forked child."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._owner = os.getpid()

    def __call__(self) -> None:
        if os.getpid() != self._owner or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _data_directory() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "lrs"


def _read(path: Path, database: str = "") -> Place | None:
    """The addresses in a file that a server has written."""
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        return Place(f"http://{told['grpc']}", f"http://{told['http']}", database)
    except (OSError, ValueError, KeyError):
        return None


@contextlib.contextmanager
def _lock(path: Path) -> Any:  # noqa: ANN401 (an iterator)
    """Take a lock for as long as this process lives; yields whether it was free."""
    file: IO[str] = path.open("w")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        file.close()
        yield False
        return
    atexit.register(file.close)  # which keeps it open until then
    yield True
