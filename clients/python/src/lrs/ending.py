"""The end of a scheduler: it hands over the last reports, waits until the service has stored all, and completes the job.

An ending knows nothing of its scheduler, so that a scheduler that nobody uses any more can be ended by itself.
"""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

from lrs import errors
from lrs.completion import complete, complete_trained
from lrs.lifetime import complete_later, leaving, living
from lrs.reports import Report

if TYPE_CHECKING:
    from lrs.directives import Directives
    from lrs.figures import Figures
    from lrs.link import Link
    from lrs.options import Options

log = logging.getLogger("lrs")


class Ending:
    """Ends a scheduler once, by `close`, by `leave`, or because a new scheduler of the job takes its place."""

    def __init__(self, link: Link, options: Options, figures: Figures, directives: Directives, completes: bool) -> None:
        """Nothing ends yet.

        Args:
            link: The connection to the service.
            options: How long to wait, and whether to raise exceptions.
            figures: The metrics that wait for a report.
            directives: The steps that were trained without the service.
            completes: Whether to complete the job once all its steps are trained.
        """
        self.held: Report | None = None
        """The report of the training's last step, which waits for the evaluations that follow it."""
        self.is_closed = False
        """Whether the end has begun."""
        self.may_go_on = False
        """Whether the same trainer may train the job further, so that it is completed at the end of the process."""
        self.key = (link.errand.server, link.errand.job, options.rank)
        """Schedulers with the same key would report the same steps."""
        self._link = link
        self._options = options
        self._figures = figures
        self._directives = directives
        self._completes = completes
        self._process = os.getpid()
        living.add(self)

    def close(self, timeout: float | None = None, outcome: str = "", reason: str = "") -> None:
        """End the scheduler; see `Scheduler.close`. With an outcome such as `COMPLETED`, the job ends too."""
        if self.is_closed or self._process != os.getpid():
            return
        self.is_closed = True
        living.discard(self)
        link, options = self._link, self._options
        wait = options.close_timeout if timeout is None else timeout
        self._hand_over_the_rest()
        left = link.close(wait)
        if left:
            self._tell_loss(left, wait)
        elif outcome:
            complete(link, options, self._figures.names, outcome, reason)
        elif self._completes and self._is_over:
            completion = partial(complete_trained, link, options, self._figures.names, reason)
            if self.may_go_on:
                complete_later(link.errand.server, link.errand.job, completion)
            else:
                completion()

    def leave(self) -> None:
        """End the scheduler in the background, because nobody uses it any more. The end of the process waits for that."""
        if self.is_closed or self._process != os.getpid():
            return
        thread = threading.Thread(target=self._leave, name="lrs-leaver", daemon=True)
        leaving.add(thread)
        try:
            thread.start()
        except RuntimeError:  # Python is ending, and closes all that is open
            leaving.discard(thread)

    def give_way(self) -> None:
        """End the scheduler, because this process has made another one for the same job."""
        self._completes = False
        job = self._link.errand.job
        log.info("A scheduler of %s that was made before in this process is closed, because there is a new one.", job)
        try:
            self.close(None if self._link.listening else 0.0)
        except errors.NotDurableError as problem:
            log.warning("%s", problem)
        self._link.mailbox.book.finals.clear()  # so that its next step finds out
        if self._link.refusal is None:
            self._link.refusal = errors.RefusedError(
                f"A newer attempt of {job} has been started by another scheduler of this process, so this scheduler is "
                "closed.",
                code="FAILED_PRECONDITION",
                reason="STALE_ATTEMPT",
            )

    def give_up(self) -> None:
        """End without a word: the scheduler could not be made."""
        self.is_closed = True
        living.discard(self)
        self._link.close(0)

    @property
    def _is_over(self) -> bool:
        """Whether this rank has trained all steps of the job."""
        job, attempt = self._link.job, self._link.attempt
        if job is None or attempt is None or self._link.refusal is not None:
            return False
        return 0 < job.spec.total_steps <= self._link.mailbox.next_step

    def _hand_over_the_rest(self) -> None:
        inbox = self._link.mailbox.inbox
        # Without a step that was begun, metrics belong to no attempt.
        has_begun = self._link.first_step is not None
        figures = self._figures.take() if self._figures.pending and has_begun else None
        if self.held is not None:
            inbox.append(self.held._replace(metrics=[*(self.held.metrics or ()), *(figures or ())] or None))
            self.held = None
        elif figures:
            # No step of the training waits for them, so they are recorded at the step that would have come next.
            inbox.append(Report(self._link.mailbox.next_step, None, None, None, None, figures))

    def _tell_loss(self, left: int, wait: float) -> None:
        link = self._link
        steps = "1 step" if left == 1 else f"{left} steps"
        text = (
            f"The service did not confirm {steps} of {link.errand.job} within {wait:g} s: {self._directives.why_away()}"
        )
        if link.job is None:
            text += (
                " The service was never reached, so the whole training went on at the rates that it began with, and nothing "
                "of it is recorded. Check the address, and give require_server=True to refuse to start without the service."
            )
        if self._options.strict:
            raise errors.NotDurableError(text, code="UNAVAILABLE")
        if link.refusal is None:  # a refusal has been logged
            log.warning("%s", text)

    def _leave(self) -> None:
        try:
            self.close()
        except errors.LrsError as problem:
            log.warning("%s", problem)
        finally:
            leaving.discard(threading.current_thread())
