"""`lrs.init`: a training as a run, which finds its server or starts one, and completes its job at the end."""

from __future__ import annotations

import logging
import os
import time
import uuid
from typing import TYPE_CHECKING, Literal, TypeVar

from lrs import errors
from lrs.completion import end_job
from lrs.job import job_name, short_name
from lrs.launch import launch
from lrs.lifetime import living, schedulers_of
from lrs.offline import offline_server
from lrs.overview import Overview
from lrs.private_server import Place, find_or_start, pages_of
from lrs.progress import postfix, track
from lrs.scheduler import Scheduler
from lrs.wire import bare, parse_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Unpack

    from lrs.arguments import SchedulerArguments

log = logging.getLogger("lrs")

_Item = TypeVar("_Item")


class Run:
    """A training. Use it as a context manager: the job is completed at its end, or marked as failed by an exception."""

    def __init__(self, job: str, place: Place) -> None:
        """See `lrs.init`."""
        self.job = job
        """`namespaces/{namespace}/jobs/{job}`."""
        self.server = place.server
        """The address of the server, for `server=` of every scheduler and callback."""
        namespace, _, name = short_name(job).partition("/")
        self.page = f"{place.pages}/jobs/{namespace}/{name}" if place.pages else ""
        """The address of the job's page; empty if it is not known."""
        self._is_over = False
        told = (
            f"Follow {short_name(job)} at {self.page}"
            if self.page
            else f"Training {short_name(job)} with {self.server}"
        )
        if place.database:
            told += f", whose server ends with this process and keeps its record in {place.database}"
        log.warning("%s.", told)  # the first line, which a program without a configured log shows too

    def scheduler(self, **arguments: Unpack[SchedulerArguments]) -> Scheduler:
        """An `lrs.Scheduler` of the run. For a library's scheduler or callback, give it `run.job` and `server=run.server`."""
        arguments.setdefault("server", self.server)
        return Scheduler(self.job, **arguments)

    @property
    def core(self) -> Overview | None:
        """The run's scheduler in this process, its open one if there are several; `None` until one is made."""
        mine = [made for made in schedulers_of(self.server, self.job) if isinstance(made, Overview)]
        return max(mine, key=lambda made: (not made.is_closed, made.next_step), default=None)

    def progress(
        self,
        iterable: Iterable[_Item],
        *,
        description: str = "",
        total: float | None = None,
        library: Literal["tqdm", "rich"] | None = None,
    ) -> Iterator[_Item]:
        """Iterate with a progress bar that shows the rate and what happens to it. See `lrs.progress.track`."""
        return track(iterable, self, description=description, total=total, library=library)

    def postfix(self) -> dict[str, str]:
        """The rate and the phase for a bar of your own: `bar.set_postfix(run.postfix())`. See `lrs.progress.postfix`."""
        return postfix(self)

    def finish(self, outcome: str = "COMPLETED", reason: str = "") -> None:
        """Close the run's schedulers, and end the job as `COMPLETED`, `FAILED` or `CANCELLED`. Further calls do nothing."""
        if outcome not in ("COMPLETED", "FAILED", "CANCELLED"):
            raise errors.UsageError(f"outcome must be COMPLETED, FAILED or CANCELLED, and was {outcome!r:.60}.")
        if self._is_over:
            return
        self._is_over = True
        mine = [ending for ending in list(living) if ending.key[:2] == (self.server, self.job)]
        for ending in mine:
            ending.close(outcome=outcome, reason=reason)
        if not mine:
            end_job(self.server, self.job, outcome, reason)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is None:
            self.finish()
        elif isinstance(problem, KeyboardInterrupt):
            self.finish("CANCELLED", "interrupted")
        else:
            self.finish("FAILED", f"{type(problem).__name__}: {problem}"[:1000])


def init(job: str | None = None, *, server: str | None = None) -> Run:
    """Begin a run, with the server at `server` or `LRS_SERVER`, or with that of this machine, or with a private one.

    With `LRS_OFFLINE=FOLDER` there is no server, and the run is recorded in that folder; see `lrs.upload`.

    Logs the address of the job's page.

    Args:
        job: See `lrs.Scheduler`. Default: a new name, made of the time.
        server: `http://HOST:PORT`. Default: `LRS_SERVER`, or else a server at `http://127.0.0.1:50051`, or else a server that
            is started for this process; it needs the program `lrs`, which `pip install lrs-server` brings, or its path in
            `LRS_BINARY`.

    Raises:
        UsageError: If `job` or `server` is invalid, or if one of several processes would have to start a server.
        UnreachableError: If there is no server, and none can be started.
    """
    name = job_name(job or f"run-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}")
    folder = offline_server()
    if folder:
        return Run(name, Place(folder, ""))
    given = server or bare(os.environ.get("LRS_SERVER", ""))
    if given:
        parse_server(given)
        return Run(name, Place(given, pages_of(given)))
    if launch().is_shared:
        raise errors.UsageError(
            "Several processes train together: start one server for them with `lrs serve`, and give its address as `server` "
            "or in LRS_SERVER."
        )
    return Run(name, find_or_start())
