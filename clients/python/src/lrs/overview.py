"""What can be read off a scheduler, from any thread: the directive of the next step, its job, attempt and connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrs.directives import Directives
    from lrs.errors import LrsError
    from lrs.fallback import FallbackSteps
    from lrs.link import Link
    from lrs.rates import Directive


class Overview:
    """The properties of a scheduler."""

    _link: Link
    _directives: Directives
    _directive: Directive | None
    _first_step: int

    @property
    def directive(self) -> Directive:
        """What to train the next step at. Begins the attempt, if nothing did before."""
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
    def clip_norm(self) -> float | None:
        """The bound to scale the gradient of the next step down to; `None`: do not clip. Tier 1 and up."""
        return self.directive.clip_norm

    @property
    def skip_above_norm(self) -> float | None:
        """Leave the next update out where the gradient's norm is greater; `None`: do not. Tier 0."""
        return self.directive.skip_above_norm

    @property
    def stop_advice(self) -> str:
        """Why training could stop now; empty while nothing speaks for it."""
        return self.directive.stop_advice

    @property
    def next_step(self) -> int:
        """The step that is trained next."""
        return self._link.mailbox.next_step

    @property
    def groups(self) -> list[str]:
        """The parameter groups' names, in the order of all rates."""
        job, attempt = self._link.job, self._link.attempt
        if attempt is not None and attempt.groups:
            return list(attempt.groups)
        if job is not None:
            return [group.name for group in job.spec.groups]
        return list(self._link.errand.groups or ["default"])

    @property
    def attempt(self) -> int:
        """The attempt's number; 0 while none has been started."""
        attempt = self._link.attempt
        return attempt.attempt if attempt is not None else 0

    @property
    def tier(self) -> int:
        """What the job expects of the trainer, as far as that is known; see `lrs.v1.JobSpec.tier`."""
        job = self._link.job
        return job.spec.tier if job is not None else self._link.errand.tier

    @property
    def decision_lag(self) -> int:
        """See `lrs.v1.JobSpec.decision_lag`; 0 while no attempt has been started."""
        attempt = self._link.attempt
        return attempt.decision_lag if attempt is not None else 0

    @property
    def is_connected(self) -> bool:
        """Whether the stream to the service is open."""
        return self._link.listening

    @property
    def refusal(self) -> LrsError | None:
        """Why the service will have no more of this attempt, if so."""
        return self._link.refusal

    @property
    def fallback_steps(self) -> FallbackSteps:
        """The steps that were trained without the service's last word so far."""
        return self._directives.fallback_steps

    @property
    def unacknowledged(self) -> int:
        """How many reported steps are not known to be durable yet."""
        return self._link.mailbox.unacknowledged

    def _begin(self) -> Directive:
        """Start the attempt, and get the first step's directive."""
        self._directive = self._directives.first(self._first_step)
        return self._directive
