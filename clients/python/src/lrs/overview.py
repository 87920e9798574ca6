"""The readable properties of a scheduler: the next step's directive, its job, its attempt and its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrs.directives import Directives
    from lrs.ending import Ending
    from lrs.errors import LrsError
    from lrs.fallback import FallbackSteps
    from lrs.figures import Figures
    from lrs.link import Link
    from lrs.rates import Directive
    from lrs.v1.job_pb2 import JobSpec


class Overview:
    """The properties of a scheduler. Any thread may read them."""

    _link: Link
    _directives: Directives
    _figures: Figures
    _ending: Ending
    _directive: Directive | None
    _first_step: int

    @property
    def directive(self) -> Directive:
        """The directive of the next step. Begins the attempt, unless it has begun."""
        directive = self._directive
        return directive if directive is not None else self._begin()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first parameter group for the next step."""
        return self.directive.rates[0]

    @property
    def learning_rates(self) -> dict[str, float]:
        """The learning rates for the next step, by parameter group."""
        return dict(zip(self.groups, self.directive.rates, strict=False))

    @property
    def known_rates(self) -> tuple[float, ...]:
        """The learning rates for the next step, in the order of `groups`; does not begin the attempt. May be empty."""
        directive = self._directive
        return directive.rates if directive is not None else tuple(self._directives.base_rates)

    @property
    def phase(self) -> str:
        """What happens to the rates now, in a word or two, for a progress bar.

        `offline` with `LRS_OFFLINE`; `waiting` until the attempt has started; `refused` if the service refuses it; `away`
        while the service does not answer; else what the controllers do, such as `searching` or `holding`, as of some
        seconds ago; or `scheduled`, if they have nothing to say.
        """
        link = self._link
        if link.refusal is not None:
            return "refused"
        if link.is_offline:
            return "offline"
        if self._directives.is_away:
            return "away"
        if link.attempt is None:
            return "waiting"
        return link.phases.now() or "scheduled"

    @property
    def clip_norm(self) -> float | None:
        """The greatest norm of the next step's gradient: scale a longer gradient down. `None`: do not clip. Tier 1 and up."""
        return self.directive.clip_norm

    @property
    def skip_above_norm(self) -> float | None:
        """Leave the next update out if the gradient's norm is greater. `None`: leave no update out. Tier 0."""
        return self.directive.skip_above_norm

    @property
    def stop_advice(self) -> str:
        """The service's reason to stop training now; empty if it gives none."""
        return self.directive.stop_advice

    @property
    def next_step(self) -> int:
        """The step that is trained next."""
        return self._link.mailbox.next_step

    @property
    def total_steps(self) -> int | None:
        """The length of the job's training in steps; `None` if it is open-ended or not known yet."""
        return self._link.length or None

    @property
    def spec(self) -> JobSpec | None:
        """The job's spec as it is registered, or else as it was asked for; `None` if neither is known."""
        job = self._link.job
        return job.spec if job is not None else self._link.errand.spec

    @property
    def groups(self) -> list[str]:
        """The names of the parameter groups, in the order of the rates."""
        job, attempt = self._link.job, self._link.attempt
        if attempt is not None and attempt.groups:
            return list(attempt.groups)
        if job is not None:
            return [group.name for group in job.spec.groups]
        return list(self._link.errand.groups or ["default"])

    @property
    def attempt(self) -> int:
        """The number of the attempt; 0 until it has started."""
        attempt = self._link.attempt
        return attempt.attempt if attempt is not None else 0

    @property
    def attempt_token(self) -> str:
        """The token of the attempt; empty as long as this process waits for rank 0 to choose it."""
        return self._link.token

    @property
    def tier(self) -> int:
        """The job's tier; the trainer's tier until the job is known. See `lrs.v1.JobSpec.tier`."""
        job = self._link.job
        return job.spec.tier if job is not None else self._link.errand.tier

    @property
    def decision_lag(self) -> int:
        """See `lrs.v1.JobSpec.decision_lag`; 0 until the attempt has started."""
        attempt = self._link.attempt
        return attempt.decision_lag if attempt is not None else 0

    @property
    def is_connected(self) -> bool:
        """Whether the stream to the service is open."""
        return self._link.listening

    @property
    def is_closed(self) -> bool:
        """Whether the scheduler has ended, so that it reports nothing more."""
        return self._ending.is_closed

    @property
    def refusal(self) -> LrsError | None:
        """Why the service refuses this attempt from now on; `None` if it does not."""
        return self._link.refusal

    @property
    def fallback_steps(self) -> FallbackSteps:
        """The steps that were trained without a final directive so far."""
        return self._directives.fallback_steps

    @property
    def metrics_left_out(self) -> int:
        """How many values of metrics were left out: no numbers, or beyond the limits on names and values."""
        return self._figures.left_out

    @property
    def unacknowledged(self) -> int:
        """How many reported steps the service has not confirmed as stored."""
        return self._link.mailbox.unacknowledged + (self._ending.held is not None)

    def _begin(self) -> Directive:
        """Start the attempt, and return the first step's directive."""
        self._directive = self._directives.first(self._first_step)
        return self._directive
