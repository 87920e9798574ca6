"""The directive of a step when its final directive is missing: a wait for it, then the plan, then the last rates."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from lrs.errors import UnreachableError
from lrs.fallback import FallbackSteps
from lrs.rates import Directive, Standing

if TYPE_CHECKING:
    from lrs.late_actions import LateActions
    from lrs.link import Link
    from lrs.options import Options

log = logging.getLogger("lrs")

#: After so many vain waits in a row, steps stop waiting for the service.
_PATIENCE: Final = 3
#: For so long after a warning that the service is away, the same message is logged as information only.
_QUIET_SECONDS: Final = 600.0


class Directives:
    """Finds directives on the trainer's thread. Logs an outage of the service once."""

    def __init__(
        self, link: Link, options: Options, *, base_rates: tuple[float, ...], late: LateActions | None
    ) -> None:
        """Nothing is asked of the service yet.

        Args:
            link: The connection to the service.
            options: How long to wait, and whether to raise exceptions.
            base_rates: The rates to begin with if the service sends none; empty: the job's base rates.
            late: Collects the steps whose actions are still to come; `None` below tier 2.
        """
        self.base_rates = base_rates
        self.fallback_steps = FallbackSteps()
        """The steps that were trained without a final directive."""
        self.is_away = False
        """Whether the present outage has been logged."""
        self.is_inert = False
        """Whether this process is a forked child, which only holds its rates."""
        self._link = link
        self._options = options
        self._late = late
        self._vain_waits = 0
        self._heard = 0
        self._silent_until = 0.0
        self._level = logging.WARNING

    def first(self, step: int) -> Directive:
        """Start the attempt at `step`, and return the directive of that step."""
        link = self._link
        if self.is_inert:
            return self._hold(step)
        link.begin(step)
        known = link.job is not None
        deadline = time.monotonic() + (self._options.start_timeout if known else self._options.deadline)
        # Wait for the first stream too: later steps do not wait while there is no stream. A refusal that may pass is
        # waited for, and a server that is away is not.
        while link.refusal is None and not (link.listening and link.mailbox.book.plan is not None):
            if not (link.connected or link.setback is not None) or not link.mailbox.wait_for_news(deadline):
                break
        directive = self._final(step)
        if directive is not None:
            return directive
        problem = link.refusal or link.setback
        if problem is not None and self._options.strict:
            raise problem
        return self._fall_back(step, self._hold(step))

    def following(self, step: int, last: Directive, *, waits: bool = True) -> Directive:
        """The directive of `step`, whose final directive has not come yet. `last` is the directive of the step before."""
        link = self._link
        if waits and not self.is_inert and not link.is_offline:
            directive = self._wait(step)
            if directive is not None:
                return directive
            if self._options.strict:
                raise link.refusal or UnreachableError(
                    f"No directive for step {step} of {link.errand.job} within {self._options.deadline} s: {self.why_away()}",
                    code="DEADLINE_EXCEEDED",
                )
        return self._fall_back(step, last, tells=waits)

    def lose(self, level: int) -> None:
        """Note that an outage was logged with this level. The link logs its end with the same level."""
        self.is_away = True
        self._level = level
        self._link.mailbox.on_return = self._return

    def _return(self) -> None:
        """Log that directives come again. The link's threads call this."""
        self.is_away = False
        errand, step = self._link.errand, self._link.mailbox.next_step
        log.log(self._level, "%s answers again, from step %d of %s on.", errand.server, step, errand.job)

    def why_away(self) -> str:
        """A sentence that says why the service sends nothing."""
        link, server = self._link, self._link.errand.server
        if link.refusal is not None:
            return str(link.refusal)
        if link.mailbox.waits_for_device:
            lag = link.attempt.decision_lag if link.attempt is not None else 0
            return (
                f"the device is still computing the loss of an earlier step. With a decision lag of {lag}, losses must come "
                "within so many steps; register the job with a larger decision_lag."
            )
        if link.mailbox.missing_ranks:
            return f"{link.mailbox.missing_ranks}."
        if link.listening:
            return f"{server} is connected but does not answer."
        if not link.last_failure:
            return f"{server} is slow to answer."
        return f"{server} cannot be reached ({link.last_failure})."

    def _final(self, step: int) -> Directive | None:
        return self._link.mailbox.book.finals.pop(step, None)

    def _wait(self, step: int) -> Directive | None:
        link, mailbox = self._link, self._link.mailbox
        mailbox.wake()
        heard = mailbox.heard
        if self._heard != heard:
            self._vain_waits = 0
        # After a few vain waits in a row, steps wait no more until the service is heard again: an outage costs a few
        # deadlines, not a deadline for each step.
        if self._vain_waits >= _PATIENCE:
            return self._final(step)
        deadline = time.monotonic() + self._options.deadline
        # A broken stream is waited for too: it may be back within the deadline.
        while link.refusal is None:
            if not mailbox.wait_for_news(deadline):
                if not mailbox.waits_for_device:
                    self._vain_waits += 1
                    self._heard = heard
                break
            directive = self._final(step)
            if directive is not None:
                self._vain_waits = 0
                return directive
        return self._final(step)

    def _fall_back(self, step: int, last: Directive, *, tells: bool = True) -> Directive:
        link = self._link
        if self.is_inert:
            return last._replace(step=step, standing=Standing.HELD, actions=())
        directive = link.mailbox.book.fall_back(step, last)
        self.fallback_steps.record(step)
        if self._late is not None:
            self._late.miss(step)
        if tells and not self.is_away and link.refusal is None:
            now = time.monotonic()
            level = logging.WARNING if now >= self._silent_until else logging.INFO
            self._silent_until = max(self._silent_until, now + _QUIET_SECONDS)
            goes_on = "the plan" if directive.standing is Standing.PLANNED else "the last rates"
            log.log(
                level,
                "No directive for step %d of %s in time, so training goes on with %s: %s",
                step,
                link.errand.job,
                goes_on,
                self.why_away(),
            )
            self.lose(level)
        return directive

    def _hold(self, step: int) -> Directive:
        job = self._link.job
        rates = self.base_rates
        if not rates and job is not None:
            rates = tuple(group.base_lr for group in job.spec.groups)
        if not rates:
            raise UnreachableError(
                f"{self._link.errand.server} cannot be reached, and no base learning rate is known: give `groups`.",
                code="UNAVAILABLE",
            )
        return Directive(step, rates, Standing.HELD)
