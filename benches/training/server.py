"""The benchmark's server, and what its records say about a run."""
import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from lrs_wire import Connection

READY_WITHIN_S = 60
DIFFERS = 6  # the exit status of `lrs replay` when it finds a difference
PAGE = 1000


@contextlib.contextmanager
def running(binary):
    """The gRPC address of a server on free ports with a temporary database; the server stops at the end."""
    with tempfile.TemporaryDirectory(prefix="lrs-bench-training-") as folder:
        folder = Path(folder)
        ready, log = folder / "ready.json", folder / "log"
        command = [binary, "serve", "--database-url", f"sqlite://{folder}/bench.db", "--grpc-listen", "127.0.0.1:0",
                   "--http-listen", "127.0.0.1:0", "--ready-file", str(ready)]
        # The environment must not configure the server.
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("LRS_")}
        with log.open("w") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=surroundings)
        try:
            until = time.monotonic() + READY_WITHIN_S
            while not ready.is_file():
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{binary} serve has not become ready:\n{log.read_text()}")
                time.sleep(0.02)
            yield json.loads(ready.read_text())["grpc"]
        finally:
            process.terminate()
            process.wait(timeout=READY_WITHIN_S)


class Records:
    """The records of a server about ended jobs."""

    def __init__(self, binary, address):
        self.binary, self.address = binary, address
        self.connection = Connection(address)

    def close(self):
        self.connection.close()

    def decisions(self, job):
        """All decisions about a job."""
        decisions, token = [], ""
        while True:
            page = self.connection.call("ListDecisions", job=job, page_size=PAGE, page_token=token)
            decisions += page.decisions
            token = page.next_page_token
            if not token:
                return decisions

    def replay(self, job):
        """The difference between a job's replayed and recorded decisions, in words; None without a difference."""
        command = [self.binary, "replay", job, "--server", f"http://{self.address}", "--no-color"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, DIFFERS):
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        return done.stdout + done.stderr if done.returncode == DIFFERS else None


def figures(decisions, lr0):
    """What the decisions say about a run: the steps of its search, the rate found as a multiple of the given rate, and
    how many decisions moved the rate after the search. Without a search the steps are 0 and there is no rate."""
    moves = [each for each in decisions if each.WhichOneof("effect") == "base_rate_change"]
    searching = [each for each in moves if is_search(each)]
    first = moves.index(searching[0]) if searching else 0
    # The first move after the search's last stage.
    found = next((i for i in range(first, len(moves)) if searching and not is_search(moves[i])), None)
    if found is None:
        return dict(search_steps=None if searching else 0, found=None, moves=0 if searching else len(moves))
    rate = moves[found].base_rate_change.groups[0].base_lr
    return dict(search_steps=moves[found].effective_step, found=rate / lr0, moves=len(moves) - found - 1)


def is_search(decision):
    """Whether a move belongs to a search: only a search tries rates as they are (flat), above 0."""
    change = decision.base_rate_change
    return change.shape.is_flat and change.groups[0].base_lr > 0
