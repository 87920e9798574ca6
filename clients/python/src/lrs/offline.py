"""A training without a server: with `LRS_OFFLINE=FOLDER`, each attempt is recorded in a file of that folder.

The rates are those that the trainer begins with: schedules and controllers run in a server. `lrs.upload` hands the files over
to a server later.
"""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lrs.errors import LrsError, UsageError
from lrs.link import Link
from lrs.offline_file import SUFFIX, OfflineFile, Recorded, add_end
from lrs.v1.job_pb2 import Job
from lrs.v1.learning_rate_service_pb2 import StartAttemptResponse, StreamTelemetryResponse
from lrs.wire import OFFLINE, bare

if TYPE_CHECKING:
    from lrs.options import Options
    from lrs.registration import Errand

log = logging.getLogger("lrs")

VARIABLE: Final = "LRS_OFFLINE"


def offline_server() -> str:
    """What stands for the server of a training without one: the folder of `LRS_OFFLINE` as `file://…`; empty if it is unset.

    Makes the folder. Raises `UsageError` if it cannot be made.
    """
    given = bare(os.environ.get(VARIABLE, ""))
    if not given:
        return ""
    folder = Path(given).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(
            f"{VARIABLE} must be a folder for files, and {str(folder)!r:.200} is none: {problem}."
        ) from problem
    return f"{OFFLINE}{folder}"


class OfflineLink(Link):
    """The thread behind a scheduler without a server: it writes the reports to a file."""

    is_offline = True

    def __init__(self, errand: Errand, options: Options) -> None:
        """Nothing is written until the attempt begins.

        Raises `UsageError` if the options ask for a server.
        """
        if options.strict or options.require_server:
            asked = "strict" if options.strict else "require_server"
            raise UsageError(
                f"{asked} needs a server, and {VARIABLE} asks for a training without one: unset one of them."
            )
        super().__init__(errand, options)
        self._folder = Path(errand.server.removeprefix(OFFLINE))
        self._path: Path | None = None
        self._written = 0
        self.token = errand.attempt_token.token
        if errand.spec is not None:
            self.job = Job(name=errand.job, spec=errand.spec)

    def await_registration(self, timeout: float) -> None:
        """Return at once: there is no service to wait for."""

    def finish(self, outcome: str, reason: str) -> None:
        """Note in the file how the training ended the job. One of several ranks that report cannot know."""
        if self._path is None or (self.errand.reporting_ranks or 1) > 1:
            return
        try:
            add_end(self._path, outcome, reason)
        except OSError as problem:
            log.warning("%s: the end of the training could not be written: %s.", self._path, problem)

    def _run(self) -> None:
        self._begun.wait()
        if self.first_step is None:
            return
        try:
            file = self._new_file(self.first_step)
            self._path = file.path
            self.attempt = StartAttemptResponse(
                resume_step=self.first_step, groups=self.errand.groups or [], tier=self.errand.tier
            )
            log.warning("Recording %s in %s: `python -m lrs.upload` hands it over.", self.errand.job, file.path)
            self.mailbox.begin_stream()
            is_over = False
            while not is_over:
                is_over = self._closing.is_set()
                self.mailbox.work.take(0.0 if is_over else self._options.flush_interval)
                self._write(file)
            file.close()
        except OSError as problem:
            text = f"{self.errand.job} is recorded no longer, because the file cannot be written: {problem}."
            self._refuse(LrsError(text, code="UNAVAILABLE"))
        except Exception as problem:  # noqa: BLE001 (training goes on, whatever the bug)
            self._refuse(LrsError(f"{self.errand.job} is recorded no longer: {problem!r}.", code="INTERNAL"))

    def _write(self, file: OfflineFile) -> None:
        self.mailbox.pump()
        while (message := self.mailbox.next_message()) is not None:
            self._written += 1
            if not file.add(message):
                self._warn(
                    "bound",
                    f"{file.path} has reached its bound, max_spill_bytes = {self._options.max_spill_bytes}: steps from "
                    f"{message.step[0]} on are not recorded.",
                )
            self.mailbox.take_answer(
                StreamTelemetryResponse(durable_through_step=message.through_step, durable_messages=self._written)
            )

    def _new_file(self, first_step: int) -> OfflineFile:
        errand, options = self.errand, self._options
        namespace, _, name = errand.job.removeprefix("namespaces/").partition("/jobs/")
        begun = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        readable = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{namespace}.{name}")[:100]
        recorded = Recorded(
            job=errand.job,
            spec=errand.spec,
            groups=list(errand.groups or ()),
            base_lrs=list(errand.base_lrs),
            tier=errand.tier,
            attempt_token=self.token,
            resume_step=first_step,
            rank=options.rank,
            reporting_ranks=errand.reporting_ranks,
            start_time=time.time(),
        )
        path = self._folder / f"{readable}-{begun}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        return OfflineFile(path, recorded, options.max_spill_bytes)
