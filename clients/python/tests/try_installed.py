"""Does what somebody does first who has installed lrs-server and lrs-client. Run it with the Python of that environment.

`python try_installed.py [training | demo]` does a part of it.
"""

import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path

import lrs

PROGRAM = Path(sysconfig.get_path("scripts")) / "lrs"
#: The first curve of the demo may take so long, in seconds.
FIRST_CURVE = 60.0
PATIENCE = 120.0

TRAIN = """
import json, sys, urllib.request
import google.protobuf, lrs

with lrs.init("tried/first") as run:
    scheduler = run.scheduler(
        groups=0.1, total_steps=60, schedule="cosine", controllers="reduce_lr_on_plateau", deadline=60
    )
    rates = []
    for step in range(60):
        rates.append(scheduler.learning_rate)
        scheduler.step(1.0 / (1.0 + step))
    assert scheduler.fallback_steps.count == 0, scheduler.fallback_steps
    assert rates[0] == 0.1 and rates == sorted(rates, reverse=True) and rates[-1] < 0.001, rates
    run.finish()
    with urllib.request.urlopen(run.page) as page:
        assert page.status == 200
    address, _, _ = run.page.partition("/jobs/")
    with urllib.request.urlopen(f"{address}/v1/{run.job}") as answer:
        state = json.load(answer)["state"]
    assert state == "STATE_COMPLETED", state
    print(f"trained 60 steps with protobuf {google.protobuf.__version__}")
"""


def environment(home: str) -> dict[str, str]:
    """The environment of a user, who has neither this project's variables nor the installed program on the PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LRS_", "PYTHON"))}
    return kept | {"PATH": "/usr/bin:/bin", "XDG_DATA_HOME": home, "no_proxy": "127.0.0.1"}


def versions() -> None:
    """The program, both packages and the module are of one version, and both packages have their licence."""
    told = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    found = {"lrs --version": told.strip(), "lrs.__version__": f"lrs {lrs.__version__}"}
    for package in ("lrs-server", "lrs-client"):
        found[package] = f"lrs {metadata.version(package)}"
        files = metadata.files(package) or []
        assert [file for file in files if file.name == "LICENSE"], f"{package} has no LICENSE"
    assert len(set(found.values())) == 1, found
    print(told.strip())


def training() -> None:
    """`lrs.init()` starts the installed program, though it is not on the PATH."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", TRAIN],
            env=environment(home),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        print(done.stdout + done.stderr, end="")
        assert done.returncode == 0, f"the training ended with {done.returncode}"
        assert "whose server ends with this process" in done.stderr, "a server of this machine was used: stop it"


def demo() -> None:
    """`lrs demo` shows its first curve soon, and leaves nothing behind when it is interrupted."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        # Whatever the demo starts inherits the writing end, so the other one is at its end when nothing is left.
        left, inherited = os.pipe()
        process = subprocess.Popen(
            [PROGRAM, "demo"],
            pass_fds=[inherited],
            env=environment(home),
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        os.close(inherited)
        watchdog = threading.Timer(FIRST_CURVE, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        said: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if re.search(r"step [1-9]\d*/\d+ +loss \d", line):
                break
        else:
            raise AssertionError(f"no curve in {FIRST_CURVE:g} s:\n{''.join(said)}")
        print(f"lrs demo: the first curve after {time.monotonic() - started:.1f} s: {line.strip()}")
        watchdog.cancel()
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        process.wait(PATIENCE)
        is_over, _, _ = select.select([left], [], [], PATIENCE)
        assert is_over, "the demo left processes behind"
        os.close(left)


if __name__ == "__main__":
    parts = [{"training": training, "demo": demo}[name] for name in sys.argv[1:]]
    for part in parts or (versions, training, demo):
        part()
