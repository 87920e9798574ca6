"""The directive of a step whose final one is not at hand: waited for, and then the plan or the last rates."""

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

#: How often in a row a step waits in vain before steps stop waiting.
_PATIENCE: Final = 3
#: After a warning that the service is away, the next such warnings are only information for so long.
_QUIET_SECONDS: Final = 600.0


class Directives:
    """Finds them on the trainer's thread, and says once when it has to do without the service."""

    def __init__(
        self, link: Link, options: Options, *, base_rates: tuple[float, ...], late: LateActions | None
    ) -> None:
        """Remember where to look.

        Args:
            link: Where directives come from.
            options: How long to wait, and whether to raise.
            base_rates: What to begin with where nothing is known; empty: the job's.
            late: Is told the steps that go by without their actions; `None` below tier 2.
        """
        self.base_rates = base_rates
        self.fallback_steps = FallbackSteps()
        """The steps that were trained without the service's last word."""
        self.is_away = False
        """Whether it has been said that the service is away."""
        self.is_inert = False
        """Whether this is a forked child, in which rates are held and nothing else happens."""
        self._link = link
        self._options = options
        self._late = late
        self._vain_waits = 0
        self._heard = 0
        self._silent_until = 0.0

    def first(self, step: int) -> Directive:
        """Start the attempt at `step`, and get its directive."""
        link = self._link
        if self.is_inert:
            return self._hold(step)
        link.begin(step)
        deadline = time.monotonic() + (self._options.start_timeout if link.connected else self._options.deadline)
        # The first stream must be open too: the steps after this one wait for nothing that is not.
        while link.connected and link.refusal is None and not (link.listening and link.mailbox.book.plan is not None):
            if not link.mailbox.wait_for_news(deadline):
                break
        directive = self._final(step)
        if directive is not None:
            return directive
        if link.refusal is not None and self._options.strict:
            raise link.refusal
        return self._fall_back(step, self._hold(step))

    def following(self, step: int, last: Directive, *, waits: bool = True) -> Directive:
        """The directive of `step`, whose final one is not here yet, after `last`."""
        link = self._link
        if waits and not self.is_inert:
            directive = self._wait(step)
            if directive is not None:
                return directive
            if self._options.strict:
                raise link.refusal or UnreachableError(
                    f"No word on step {step} of {link.errand.job} within {self._options.deadline} s: {self.why_away()}",
                    code="DEADLINE_EXCEEDED",
                )
        return self._fall_back(step, last)

    def why_away(self) -> str:
        """Why there is no word from the service, in a sentence."""
        link, server = self._link, self._link.errand.server
        if link.refusal is not None:
            return str(link.refusal)
        if link.mailbox.waits_for_device:
            lag = link.attempt.decision_lag if link.attempt is not None else 0
            return (
                f"the loss of an earlier step is still being computed. With a decision lag of {lag} the device may be no "
                "further behind than that; register the job with a larger decision_lag."
            )
        if link.listening:
            return f"{server} is connected and silent."
        if not link.last_failure:
            return f"{server} is slow to answer."
        return f"{server} can not be reached ({link.last_failure})."

    def _final(self, step: int) -> Directive | None:
        return self._link.mailbox.book.finals.pop(step, None)

    def _wait(self, step: int) -> Directive | None:
        link, mailbox = self._link, self._link.mailbox
        mailbox.wake()
        heard = mailbox.heard
        if self._heard != heard:
            self._vain_waits = 0
        # A few vain waits in a row, and there is no other until something is heard again: an outage costs these, not a
        # deadline a step.
        if self._vain_waits >= _PATIENCE:
            return self._final(step)
        deadline = time.monotonic() + self._options.deadline
        # Also where the stream is broken: it may be back within the deadline.
        while link.refusal is None:
            if not mailbox.wait_for_news(deadline):
                if not mailbox.waits_for_device:
                    self._vain_waits += 1
                    self._heard = heard
                break
            directive = self._final(step)
            if directive is not None:
                self._vain_waits = 0
                if self.is_away:
                    self.is_away = False
                    log.info("%s answers again, from step %d of %s on", link.errand.server, step, link.errand.job)
                return directive
        return self._final(step)

    def _fall_back(self, step: int, last: Directive) -> Directive:
        link = self._link
        if self.is_inert:
            return last._replace(step=step, standing=Standing.HELD, actions=())
        directive = link.mailbox.book.fall_back(step, last)
        self.fallback_steps.record(step)
        if self._late is not None:
            self._late.miss(step)
        if not self.is_away and link.refusal is None:
            self.is_away = True
            now = time.monotonic()
            level = logging.WARNING if now >= self._silent_until else logging.INFO
            self._silent_until = max(self._silent_until, now + _QUIET_SECONDS)
            goes_on = "the plan" if directive.standing is Standing.PLANNED else "the last rates"
            log.log(
                level,
                "No word on step %d of %s in time, so training goes on with %s: %s",
                step,
                link.errand.job,
                goes_on,
                self.why_away(),
            )
        return directive

    def _hold(self, step: int) -> Directive:
        job = self._link.job
        rates = self.base_rates
        if not rates and job is not None:
            rates = tuple(group.base_lr for group in job.spec.groups)
        if not rates:
            raise UnreachableError(
                f"{self._link.errand.server} can not be reached, and no base learning rate is known to begin with: give "
                "`groups`.",
                code="UNAVAILABLE",
            )
        return Directive(step, rates, Standing.HELD)
