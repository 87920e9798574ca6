"""The learning rate of each step, from the service, without ever stopping the training."""

from __future__ import annotations

import atexit
import logging
import operator
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lrs import errors
from lrs.attempt import attempt_token as token_of_environment
from lrs.fallback import FallbackSteps
from lrs.job import arm_name, base_rates, job_name, job_spec
from lrs.link import Errand, Link, Report
from lrs.options import Options
from lrs.rates import Action, Directive, Standing
from lrs.readings import Reading, number, reading
from lrs.wire import DEFAULT_SERVER, parse_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

log = logging.getLogger("lrs")

_NEVER: Final = 1 << 62
_LAST_STEP: Final = (1 << 53) - 1
#: How often in a row a step waits in vain before steps stop waiting.
_PATIENCE: Final = 3
#: After a warning that the service is away, the next such warnings are only information for so long.
_QUIET_SECONDS: Final = 600.0
_METRIC_NAME = re.compile(r"\S{1,100}")
_OWN_COLUMNS = frozenset({"loss", "grad_norm", "learning_rate"})
#: Of the 64 series that a message may have, one is for steps trained on the plan.
_MAX_METRICS: Final = 63


class Scheduler:
    """One attempt of a job, as its trainer sees it.

    Ask for `directive` (or `learning_rate`) before a step and call `step` after it. `step` belongs to the thread that
    trains; everything else may be called from any thread. In a forked child it does nothing and holds its rates.
    """

    def __init__(
        self,
        job: str,
        *,
        server: str | None = None,
        groups: Mapping[str, float] | float | None = None,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        schedule: Mapping[str, Any] | None = None,
        controller: str | None = None,
        controllers: Sequence[Mapping[str, Any]] | None = None,
        spec: Mapping[str, Any] | None = None,
        tier: int = 0,
        decision_lag: int | None = None,
        experiment: str | None = None,
        arm: str | None = None,
        seed: int | None = None,
        labels: Mapping[str, str] | None = None,
        resume_step: int = 0,
        attempt_token: str | None = None,
        deadline: float = 0.05,
        strict: bool = False,
        start_timeout: float = 5.0,
        close_timeout: float = 5.0,
        options: Options | None = None,
    ) -> None:
        """Connect, and register the job or find it registered.

        Waits up to `start_timeout` seconds; a service that can not be reached is tried again in the background.

        Args:
            job: `namespace/job`, `job` in the default namespace, or `namespaces/{namespace}/jobs/{job}`.
            server: `http://HOST:PORT`. Default: `LRS_SERVER`, or else `http://127.0.0.1:50051`.
            groups: The base learning rates by parameter group, or one rate.
            total_steps: How many updates the training has.
            steps_per_epoch: How many updates an epoch has.
            schedule: As in a job file, such as `{"cosine": {}}` or `{"library": "torch", "scheduler": "StepLR", …}`.
            controller: `"auto"`, the recommended closed loop.
            controllers: As in a job file.
            spec: Any further fields of the job file's `spec`.
            tier: What the trainer can do: 0 set rates, 1 clip to a bound it is told, 2 keep and restore copies too.
            decision_lag: The directive of step k depends on no telemetry after step k - `decision_lag`. Default: 1.
            experiment: Jobs of one experiment are compared.
            arm: `scheduled` or `baseline`.
            seed: The random seed of the run.
            labels: Free labels for filtering.
            resume_step: The step that is trained first; see also `load_state_dict`.
            attempt_token: See `lrs.attempt_token`, which is the default.
            deadline: The longest that a step waits for the service, in seconds.
            strict: Whether to raise into the loop when the service is away, instead of going on with the plan.
            start_timeout: The longest that this waits for the service, in seconds.
            close_timeout: The longest that `close` waits for it, in seconds.
            options: All the other bounds; its `deadline` and the like are replaced by the arguments here.

        Raises:
            UsageError: If an argument can not be right, or the job has other parameter groups.
            JobNotFoundError: If there is no such job, and nothing to register it from.
            JobEndedError: If the job has ended.
            VersionMismatchError: If the server is of another major version.
            RefusedError: If it refuses for another reason, such as a schedule that makes no sense.
            UnreachableError: If it does not answer, and `strict`, or no base rate is known to begin with.
        """
        self.server = server or os.environ.get("LRS_SERVER") or DEFAULT_SERVER
        parse_server(self.server)
        self.job = job_name(job)
        resume_step = _whole(resume_step, "resume_step")
        if resume_step < 0:
            raise errors.UsageError(f"resume_step is the step trained next, at least 0, and was {resume_step}.")
        rates = base_rates(groups)
        fields = {
            "total_steps": total_steps,
            "steps_per_epoch": steps_per_epoch,
            "tier": tier or None,
            "decision_lag": decision_lag,
            "experiment": experiment,
            "arm": arm_name(arm),
            "seed": seed,
            "labels": dict(labels) if labels is not None else None,
        }
        asked = job_spec(
            groups=rates, spec=spec, schedule=schedule, controller=controller, controllers=controllers, fields=fields
        )
        base = options or Options()
        self._options = replace(
            base, deadline=deadline, strict=strict, start_timeout=start_timeout, close_timeout=close_timeout
        )
        names = list(rates) if isinstance(groups, Mapping) else None
        self._base_rates = tuple(rates.values())
        self.attempt_token = attempt_token or token_of_environment()
        self._tier = tier
        self._resume_step = resume_step
        self._state: Mapping[str, Any] | None = None
        self._fallback = FallbackSteps()
        self._missed: list[int] = []
        self._pending_metrics: dict[str, float | Reading] = {}
        self._metric_names: set[str] = set()
        self._metrics_lock = threading.Lock()
        self._directive: Directive | None = None
        self._vain_waits = 0
        self._heard = 0
        self._silent_until = 0.0
        self._is_away = False
        self._inert = False
        self._closed = False
        errand = Errand(self.server, self.job, asked, names, tier, self.attempt_token)
        self._link = Link(errand, self._options)
        self._link.next_step = resume_step
        # Looked up once: the steady state of `step` is made of these.
        self._hand_over: Callable[[Report], None] = self._link.inbox.append
        self._take_final: Callable[[int, None], Directive | None] = self._link.book.finals.pop
        self._link.start()
        _living.add(self)
        self._await_registration()

    # What to train with.

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
    def has_late_actions(self) -> bool:
        """Whether something may have been to be done at steps that went by on the plan; see `take_actions`."""
        return bool(self._missed or self._link.late)

    def take_actions(self) -> list[Action]:
        """What to do before the next step, in this order; each is told once. Tier 2.

        What was to be done at steps that went by on the plan comes late, rather than never.
        """
        directive, link = self.directive, self._link
        actions: list[Action] = []
        passed = [missed for step in self._missed if (missed := self._take_final(step, None)) is not None]
        # The last word on a step that is still trained comes in as if it were in time; that on an earlier one, as late.
        self._missed = [
            step for step in self._missed if step + 1 >= directive.step and step not in {d.step for d in passed}
        ]
        while link.late:
            passed.append(link.late.popleft())
        for earlier in sorted(passed, key=lambda late: late.step):
            actions.extend(earlier.actions)
        actions.extend(directive.actions)
        self._directive = directive._replace(actions=())
        return actions

    # What is reported.

    def step(
        self,
        loss: object = None,
        grad_norm: object = None,
        metrics: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        learning_rate: float | None = None,
    ) -> Directive:
        """Report the step just trained, and get what to train the next one at.

        Waits for the service no longer than the deadline, and for a device not at all.

        Args:
            loss: The training loss: a number, or a tensor of one element on any device.
            grad_norm: The norm of the whole gradient before clipping, likewise.
            metrics: Other figures of this step, by name.
            step: Which step it was, where some are left out. Default: the one after the last.
            learning_rate: The rate that was really used, if it was not the directive's.

        Raises:
            MetricError: If a loss, norm or metric can be no number.
            StepError: If `step` does not come after the steps before it.
            UnreachableError: If the service has no word on the next step in time, and `strict`.
            RefusedError: If it has refused for good, and `strict`.
        """
        # Steady state: a tuple, an append, a look-up. No lock, no message, no call.
        if loss.__class__ is not float and loss is not None:
            loss = reading(loss, "loss")
        if grad_norm.__class__ is not float and grad_norm is not None:
            grad_norm = reading(grad_norm, "grad_norm")
        if learning_rate.__class__ is not float and learning_rate is not None:
            learning_rate = number(learning_rate, "learning_rate")
        used = self._directive
        if used is None:
            used = self._begin()
        link = self._link
        trained = link.next_step
        if step is not None and step != trained:
            trained = self._check_step(step)
        figures = self._figures(metrics) if metrics is not None or self._pending_metrics else None
        self._hand_over(Report(trained, loss, grad_norm, used, learning_rate, figures))
        following = trained + 1
        link.next_step = following
        directive = self._take_final(following, None)
        if directive is None:
            directive = self._without_last_word(following)
        elif following >= link.wake_at:
            link.wake_at = _NEVER
            link.wake()
        self._directive = directive
        return directive

    def log(self, **metrics: object) -> None:
        """Report figures, such as an evaluation's `val_loss=0.3`, with the next step that is reported.

        A step is closed when it is reported, so what is measured after it belongs to the one that follows.

        Raises:
            MetricError: If one can be no number.
            UsageError: If a name can not be a metric's.
        """
        with self._metrics_lock:
            self._pending_metrics.update(self._checked(metrics))

    # Where it stands.

    @property
    def next_step(self) -> int:
        """The step that is trained next."""
        return self._link.next_step

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
        return job.spec.tier if job is not None else self._tier

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
    def refusal(self) -> errors.LrsError | None:
        """Why the service will have no more of this attempt, if so."""
        return self._link.refusal

    @property
    def fallback_steps(self) -> FallbackSteps:
        """The steps that were trained without the service's last word so far."""
        return self._fallback

    @property
    def unacknowledged(self) -> int:
        """How many reported steps are not known to be durable yet."""
        return self._link.unacknowledged

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """What to put into a checkpoint, in plain values."""
        rates = self._directive.rates if self._directive is not None else self._base_rates
        return {"version": 1, "job": self.job, "attempt": self.attempt, "step": self.next_step, "rates": list(rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was made. Comes before the first step.

        Begins a new attempt at the checkpoint's step, and waits for it up to `start_timeout`.

        Raises:
            UsageError: If a step has been trained already, or this is no state of a scheduler.
            ResumeError: If the checkpoint is of another job, or of a history that the job has left.
            RefusedError: If the service refuses to begin there.
        """
        if self._directive is not None:
            raise errors.UsageError(
                "load_state_dict() comes before the first step: this scheduler's attempt has begun. Make a new Scheduler "
                "and load the state into that."
            )
        if not isinstance(state, Mapping):
            raise errors.UsageError(f"A state is what state_dict() returned, and this was {state!r:.60}.")
        job, step = state.get("job"), state.get("step")
        if state.get("version") != 1 or not isinstance(step, int) or not isinstance(state.get("attempt"), int):
            raise errors.UsageError(
                "This is no state of an lrs.Scheduler of this version; pass what state_dict() returned."
            )
        if job != self.job:
            raise errors.ResumeError(
                f"The checkpoint is of {job}, and this scheduler trains {self.job}. Make the scheduler with that job's name, "
                "or fork that job with `lrs job fork` and start the fork with resume_step.",
                reason="OTHER_JOB",
            )
        self._resume_step = self._link.next_step = step
        self._link.resumes = dict(state)
        rates = tuple(float(rate) for rate in state.get("rates", ()))
        self._base_rates = rates or self._base_rates
        self._begin()
        refusal = self._link.refusal
        if refusal is not None:
            raise refusal

    # The end.

    def close(self, timeout: float | None = None) -> None:
        """Wait until all that was reported is durable, no longer than the timeout, and end the connection.

        Done at the end of the process, if not before. Harmless when repeated.

        Raises:
            NotDurableError: If not everything is known to be durable, and `strict`.
        """
        if self._closed or self._inert:
            return
        self._closed = True
        _living.discard(self)
        if self._pending_metrics and self._directive is not None:
            # An evaluation after the last step: on record at the step that would have come next.
            figures, self._pending_metrics = self._pending_metrics, {}
            self._hand_over(Report(self._link.next_step, None, None, None, None, figures))
        wait = self._options.close_timeout if timeout is None else timeout
        left = self._link.close(wait)
        self._hand_over = self._warn_once_closed
        if left:
            text = f"{left} steps of {self.job} were not known to be durable within {wait:g} s: {self._why_away()}"
            if self._options.strict:
                raise errors.NotDurableError(text, code="UNAVAILABLE")
            if self._link.refusal is None:  # which has been said
                log.warning("%s", text)

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # How.

    def _await_registration(self) -> None:
        link, deadline = self._link, time.monotonic() + self._options.start_timeout
        while link.job is None and link.refusal is None:
            link.changed.clear()
            if (
                link.job is None
                and link.refusal is None
                and not link.changed.wait(max(0.0, deadline - time.monotonic()))
            ):
                break
        if link.refusal is not None:
            self._closed = True
            link.close(0)
            raise link.refusal
        link.announces = True
        if link.job is None:
            text = (
                f"{self.server} did not answer within {self._options.start_timeout} s ({link.last_failure or 'no answer'}). "
                "Is `lrs serve` running there? "
            )
            if self._options.strict or not self._base_rates:
                self._closed = True
                link.close(0)
                if not self._options.strict:
                    text += "To begin without it, say at which rate: give `groups`."
                raise errors.UnreachableError(text.rstrip(), code="UNAVAILABLE")
            self._is_away = True
            log.warning("%sTraining begins with the base rates given; it is tried again meanwhile.", text)

    def _begin(self) -> Directive:
        """Start the attempt, and get the first step's directive."""
        link, first = self._link, self._resume_step
        if self._inert:
            self._directive = self._hold(first)
            return self._directive
        link.begin(first)
        deadline = time.monotonic() + (self._options.start_timeout if link.connected else self._options.deadline)
        # The first stream must be open too: the steps after this one wait for nothing that is not.
        while link.connected and link.refusal is None and not (link.listening and link.book.plan is not None):
            if not link.wait_for_news(deadline):
                break
        directive = self._take_final(first, None)
        if directive is not None:
            self._directive = directive
            return directive
        if link.refusal is not None and self._options.strict:
            raise link.refusal
        self._directive = self._fall_back(first)
        return self._directive

    def _without_last_word(self, step: int) -> Directive:
        """The directive of a step whose final one is not here yet."""
        link = self._link
        if not self._inert and not self._closed:
            directive = self._wait(step)
            if directive is not None:
                return directive
            if self._options.strict:
                raise link.refusal or errors.UnreachableError(
                    f"No word on step {step} of {self.job} within {self._options.deadline} s: {self._why_away()}",
                    code="DEADLINE_EXCEEDED",
                )
        return self._fall_back(step)

    def _wait(self, step: int) -> Directive | None:
        link = self._link
        link.wake()
        heard = link.heard
        if self._heard != heard:
            self._vain_waits = 0
        # A few vain waits in a row, and there is no other until something is heard again: an outage costs these, not a
        # deadline a step.
        if self._vain_waits >= _PATIENCE:
            return self._take_final(step, None)
        deadline = time.monotonic() + self._options.deadline
        # Also where the stream is broken: it may be back within the deadline.
        while link.refusal is None:
            if not link.wait_for_news(deadline):
                if not link.waits_for_device:
                    self._vain_waits += 1
                    self._heard = heard
                break
            directive = self._take_final(step, None)
            if directive is not None:
                self._vain_waits = 0
                if self._is_away:
                    self._is_away = False
                    log.info("%s answers again, from step %d of %s on", self.server, step, self.job)
                return directive
        return self._take_final(step, None)

    def _fall_back(self, step: int) -> Directive:
        link = self._link
        last = self._directive or self._hold(step)
        if self._inert:
            return last._replace(step=step, standing=Standing.HELD, actions=())
        directive = link.book.fall_back(step, last)
        self._fallback.record(step)
        if self._tier >= 2:
            self._missed.append(step)
            del self._missed[:-1000]
        if not self._is_away and link.refusal is None:
            self._is_away = True
            now = time.monotonic()
            level = logging.WARNING if now >= self._silent_until else logging.INFO
            self._silent_until = max(self._silent_until, now + _QUIET_SECONDS)
            goes_on = "the plan" if directive.standing is Standing.PLANNED else "the last rates"
            why = self._why_away()
            log.log(
                level, "No word on step %d of %s in time, so training goes on with %s: %s", step, self.job, goes_on, why
            )
        return directive

    def _why_away(self) -> str:
        link = self._link
        if link.refusal is not None:
            return str(link.refusal)
        if link.waits_for_device:
            return (
                f"the loss of an earlier step is still being computed. With a decision lag of {self.decision_lag} the "
                "device may be no further behind than that; register the job with a larger decision_lag."
            )
        if link.listening:
            return f"{self.server} is connected and silent."
        if not link.last_failure:
            return f"{self.server} is slow to answer."
        return f"{self.server} can not be reached ({link.last_failure})."

    def _hold(self, step: int) -> Directive:
        job = self._link.job
        rates = self._base_rates
        if not rates and job is not None:
            rates = tuple(group.base_lr for group in job.spec.groups)
        if not rates:
            raise errors.UnreachableError(
                f"{self.server} can not be reached, and no base learning rate is known to begin with: give `groups`.",
                code="UNAVAILABLE",
            )
        return Directive(step, rates, Standing.HELD)

    def _check_step(self, step: object) -> int:
        step = _whole(step, "step")
        expected = self._link.next_step
        if step < expected:
            raise errors.StepError(
                f"Step {step} was reported and step {expected} is next: within an attempt steps only rise. To go back, make "
                "a new Scheduler with resume_step or load_state_dict(), which begins a new attempt."
            )
        if step > _LAST_STEP:
            raise errors.StepError(f"Step {step} was reported; steps are at most {_LAST_STEP}, that is 2^53 - 1.")
        return step

    def _figures(self, metrics: Mapping[str, object] | None) -> dict[str, float | Reading]:
        with self._metrics_lock:
            figures, self._pending_metrics = self._pending_metrics, {}
            if metrics:
                figures.update(self._checked(metrics))
        return figures

    def _checked(self, metrics: Mapping[str, object]) -> dict[str, float | Reading]:
        if not isinstance(metrics, Mapping):
            raise errors.UsageError(
                f"metrics are numbers by name, as in {{'accuracy': 0.5}}, and were {metrics!r:.60}."
            )
        for name in metrics:
            if name in self._metric_names:
                continue
            if not isinstance(name, str) or not _METRIC_NAME.fullmatch(name) or name in _OWN_COLUMNS:
                raise errors.UsageError(
                    f"{name!r} can not be a metric's name: it has 1 to 100 characters without spaces, and is not `loss`, "
                    "`grad_norm` or `learning_rate`, which step() takes by themselves."
                )
            if len(self._metric_names) >= _MAX_METRICS:
                raise errors.UsageError(
                    f"{name!r} would be metric number {_MAX_METRICS + 1}; there may be {_MAX_METRICS}."
                )
            self._metric_names.add(name)
        return {name: reading(value, name) for name, value in metrics.items()}

    def _warn_once_closed(self, report: Report) -> None:
        self._hand_over = _forget
        log.warning(
            "Step %d of %s was reported after close(), so neither it nor what follows is recorded, and the rates stay as "
            "they are. Close the scheduler when training is over.",
            report.step,
            self.job,
        )

    def _after_fork_in_child(self) -> None:
        # The link's threads are the parent's, and its connection too: not a byte may be sent, not a lock be waited for.
        self._inert = True
        self._metrics_lock = threading.Lock()  # another thread may have held the old one
        self._hand_over = _forget
        self._take_final = _nothing


def _whole(value: Any, name: str) -> int:  # noqa: ANN401 (checked here)
    try:
        return operator.index(value)
    except TypeError as problem:
        raise errors.UsageError(f"{name} must be a whole number, and was {value!r:.60}.") from problem


def _forget(_: Report) -> None:
    pass


def _nothing(_: int, __: None) -> None:
    return None


_living: set[Scheduler] = set()
#: What forked children must not let go of, since letting go would talk to the parent's server.
_abandoned: list[object] = []


def _close_all() -> None:
    for scheduler in list(_living):
        try:
            scheduler.close()
        except errors.LrsError as problem:
            log.warning("%s", problem)


def _after_fork_in_child() -> None:
    for scheduler in list(_living):
        _abandoned.append(scheduler)
        scheduler._after_fork_in_child()
    _living.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
