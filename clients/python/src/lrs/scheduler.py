"""The scheduler: asks the service for each step's learning rate, and never stops the training."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lrs import errors
from lrs.arguments import SchedulerArguments, bounds, check_arguments
from lrs.arrival import arrive
from lrs.attempt import AttemptToken, checked_token, token_of_start
from lrs.copies import SchedulerCopy
from lrs.directives import Directives
from lrs.ending import Ending
from lrs.figures import Figures
from lrs.implied import given_value, implied_fields
from lrs.job import base_rates, job_name, job_spec
from lrs.late_actions import LateActions
from lrs.lifetime import replace, watch_forks
from lrs.link import Link
from lrs.mailbox import NEVER
from lrs.offline import OfflineLink, offline_server
from lrs.once import WarnOnce
from lrs.overview import Overview
from lrs.past_end import warn_past_the_end
from lrs.registration import Errand
from lrs.reported import number, reading
from lrs.reports import Report
from lrs.resume import checked_state
from lrs.steering import LOSS_AFTER, Steering, reads
from lrs.steps import first_step, next_step, whole
from lrs.typed import as_typed
from lrs.wire import OFFLINE, server_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Unpack

    from lrs.rates import Action, Directive

log = logging.getLogger("lrs")


class Scheduler(Overview):
    """An attempt of a job, for its trainer.

    Read `directive` (or `learning_rate`) before a step, and call `step` after it. Only the thread that trains may call
    `step`; any thread may call everything else. In a forked child the scheduler does nothing and holds its rates, and so
    does a copy made by `pickle` or `copy.deepcopy`; see `lrs.copies`. A scheduler that nobody uses any more is closed,
    and so is an older one of this process for the same job.
    """

    def __init__(self, job: str, **arguments: Unpack[SchedulerArguments]) -> None:
        """Connect, and find or register the job.

        Waits up to `start_timeout` seconds. After that, the client keeps trying in the background.

        Args:
            job: `namespace/job`, `job` in the default namespace, or `namespaces/{namespace}/jobs/{job}`.
            arguments: See `lrs.arguments.SchedulerArguments`. For a registered job, all of them are optional.

        Raises:
            ArgumentError: If there is no such argument.
            UsageError: If an argument is invalid, or the job has other parameter groups.
            JobNotFoundError: If there is no such job, and the arguments do not say how to register one.
            JobEndedError: If the job has ended.
            VersionMismatchError: If the server is of another major version.
            RefusedError: If the server refuses for another reason, such as an invalid schedule.
            UnreachableError: If the server does not answer, and `require_server` or `strict` is set or no base rate is known.
        """
        check_arguments(arguments, SchedulerArguments, Scheduler.__init__)
        self.server = offline_server() or server_address(arguments.get("server"))
        self.job = job_name(job)
        self._first_step = first_step(arguments.get("resume_step", 0))
        self._options = bounds(arguments)
        given = checked_token(arguments.get("attempt_token"))
        token = AttemptToken(given) if given else token_of_start(self.job)
        groups = arguments.get("groups")
        rates = base_rates(groups)
        names = list(rates) if isinstance(groups, Mapping) else None
        tier = whole(given_value(arguments, "tier") or 0, "tier")
        asked = job_spec(arguments, rates)
        self._directive: Directive | None = None
        self._steering = Steering(WarnOnce())
        self._lossless = self._normless = 0
        self._look_at = self._first_step + LOSS_AFTER
        base_lrs, ranks = tuple(rates.values()), self._options.reporting_ranks
        errand = Errand(
            self.server,
            self.job,
            asked,
            names,
            tier,
            token,
            base_lrs,
            ranks,
            self._options.strict,
            implied_fields(),
        )
        replace((self.server, self.job, self._options.rank))
        self._link = link = (OfflineLink if self.server.startswith(OFFLINE) else Link)(errand, self._options)
        self._figures = Figures(lambda: reads(link.job.spec if link.job is not None else link.errand.spec))
        self._mailbox = self._link.mailbox
        self._mailbox.next_step = self._first_step
        self._late = LateActions(self._mailbox)
        self._directives = Directives(
            self._link, self._options, base_rates=tuple(rates.values()), late=self._late if tier >= 2 else None
        )
        # Looked up once, because `step` calls these every time.
        self._hand_over: Callable[[Report], None] = self._mailbox.inbox.append
        self._take_final: Callable[[int, None], Directive | None] = self._mailbox.book.finals.pop
        completes = arguments.get("complete", True)
        self._ending = Ending(self._link, self._options, self._figures, self._directives, completes)
        self._link.start()
        watch_forks(self)
        weakref.finalize(self, self._ending.leave).atexit = False
        self._last_step = NEVER
        self._await_registration(arguments, rates)

    # Actions.

    @property
    def has_late_actions(self) -> bool:
        """Whether steps trained on the plan may still have actions to carry out; see `take_actions`."""
        return bool(self._late)

    def take_actions(self) -> list[Action]:
        """The actions to carry out before the next step, in this order. Returns each action once. Tier 2.

        The actions of steps that were trained on the plan are among them, late.
        """
        directive = self.directive
        self._directive = directive._replace(actions=())
        return [*self._late.take(directive.step), *directive.actions]

    # Reports.

    def step(
        self,
        loss: object = None,
        grad_norm: object = None,
        metrics: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        learning_rate: float | None = None,
    ) -> Directive:
        """Report the last step, and return the directive of the next step.

        Waits for the service up to the deadline, and never for a device.

        Args:
            loss: The training loss: a number, or a tensor of one element on any device.
            grad_norm: The norm of the whole gradient before clipping: a number or a tensor, like the loss.
            metrics: Other numbers of this step, by name. See `log`.
            step: The number of the step, if steps are left out. Default: `next_step`.
            learning_rate: The first group's rate in this step, if it differed from the directive's.

        Raises:
            MetricError: If a loss or norm is not a number.
            StepError: If `step` is not greater than the last reported step.
            UnreachableError: If the next directive does not come in time, and `strict` is set.
            RefusedError: If the service refuses the attempt, and `strict` is set.
        """
        # In steady state this makes a tuple, appends it and looks a directive up: no lock, no message, no call.
        if loss.__class__ is not float:
            if loss is None:
                self._lossless += 1
            else:
                loss = reading(loss, "loss")
        if grad_norm.__class__ is not float:
            if grad_norm is None:
                self._normless += 1
            else:
                grad_norm = reading(grad_norm, "grad_norm")
        if learning_rate.__class__ is not float and learning_rate is not None:
            learning_rate = number(learning_rate, "learning_rate")
        used = self._directive
        if used is None:
            used = self._begin()
        mailbox = self._mailbox
        trained = mailbox.next_step
        if step is not None and step != trained:
            trained = next_step(step, trained)
        figures = self._figures.take(metrics) if metrics is not None or self._figures.pending else None
        report = Report(trained, loss, grad_norm, used, learning_rate, figures)
        following = trained + 1
        if trained >= self._last_step:
            return self._end_with(report)
        self._hand_over(report)
        mailbox.next_step = following
        if following >= self._look_at:
            self._look(following - self._first_step)
        directive = self._take_final(following, None)
        if directive is None:
            directive = self._next_directive(following, used)
        elif following >= mailbox.wake_at:
            mailbox.wake_at = NEVER
            mailbox.wake()
        self._directive = directive
        return directive

    def log(self, *given: Mapping[str, object], **metrics: object) -> None:
        """Report metrics, such as an evaluation's `val_loss=0.3` or `{"val/loss": 0.3}`, with the next reported step.

        Reporting a step closes it, so metrics measured after it belong to the step that follows. The last of
        `total_steps` steps is closed at the end, so metrics measured after it belong to it. A metric that is logged
        several times before that step keeps all its values, in this order; the service takes 64 of them.

        Never raises for what was measured. Characters that a name may not hold are replaced by `_`, and what is no
        number, or beyond the 63 names of an attempt, is left out: `metrics_left_out` counts, and the log says so once.

        Raises:
            UsageError: If `given` holds something else than mappings of names to numbers.
        """
        self._figures.log(*given, metrics)

    def grow(self, groups: Mapping[str, float]) -> None:
        """Make known that the trainer has more parameter groups: the new ones at the end, with their base rates.

        The service gets to know them in the background. Until it tells their rates, the trainer keeps its own for them.
        """
        self._link.grow(base_rates(groups))

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, in plain values."""
        rates = self._directive.rates if self._directive is not None else self._directives.base_rates
        return {"version": 1, "job": self.job, "attempt": self.attempt, "step": self.next_step, "rates": list(rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a checkpoint. Call this before the first step.

        Begins a new attempt at the checkpoint's step, and waits for it up to `start_timeout`.

        Raises:
            UsageError: If the attempt has begun, or `state` is not the state of a scheduler.
            ResumeError: If the checkpoint is of another job, or not of the job's present history.
            RefusedError: If the service refuses the attempt.
        """
        if self._directive is not None:
            raise errors.UsageError(
                "load_state_dict() must come before the first step, but this scheduler's attempt has begun. Make a new "
                "Scheduler and load the state into it."
            )
        checked = checked_state(state, self.job)
        self._first_step = self._mailbox.next_step = checked["step"]
        self._look_at = self._first_step + LOSS_AFTER
        self._link.resumes = checked
        rates = tuple(float(rate) for rate in checked.get("rates", ()))
        self._directives.base_rates = rates or self._directives.base_rates
        announced, self._link.announces = self._link.announces, False  # a refusal is raised here
        try:
            self._begin()
        finally:
            self._link.announces = announced
        refusal = self._link.refusal
        if refusal is not None:
            raise refusal

    # The end.

    def close(self, timeout: float | None = None) -> None:
        """Wait until the service has stored all reports, up to `timeout` seconds, and end the connection.

        Completes the job if all of its `total_steps` are trained; see the argument `complete`. Runs at the end of the process,
        or when nobody uses the scheduler any more, if it did not run before. Further calls do nothing.

        Raises:
            NotDurableError: If the service has not confirmed all reports, and `strict` is set.
        """
        self._close(timeout)

    def finish(self, outcome: str = "COMPLETED", reason: str = "", *, timeout: float | None = None) -> None:
        """Close, and end the job however many steps are trained: as `COMPLETED`, `FAILED` or `CANCELLED`, with a reason.

        Raises:
            UsageError: If there is no such outcome.
            NotDurableError: See `close`.
        """
        if outcome not in ("COMPLETED", "FAILED", "CANCELLED"):
            raise errors.UsageError(f"outcome must be COMPLETED, FAILED or CANCELLED, and was {outcome!r:.60}.")
        self._close(timeout, outcome, reason)

    def complete_later(self) -> None:
        """Let `close` complete the job only at the end of the process, because the same trainer may train it further."""
        self._ending.may_go_on = True

    def _close(self, timeout: float | None, outcome: str = "", reason: str = "") -> None:
        if self._ending.is_closed or self._directives.is_inert:
            return
        try:
            self._ending.close(timeout, outcome, reason)
        finally:
            self._hand_over = self._warn_once_closed

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[SchedulerCopy], tuple[dict[str, Any]]]:
        return SchedulerCopy, (self.state_dict(),)

    def after_fork_in_child(self) -> None:
        """Do nothing from now on: the link's threads and its connection belong to the parent."""
        # Send nothing, and wait for no lock.
        self._directives.is_inert = True
        self._figures.after_fork()
        self._mailbox.after_fork()
        self._hand_over = _forget
        self._take_final = _nothing
        self._last_step = self._look_at = NEVER

    def _await_registration(self, arguments: SchedulerArguments, rates: Mapping[str, float]) -> None:
        problem = arrive(self._link, self._options, self._directives)
        if problem is not None:
            self._ending.give_up()
            raise as_typed(problem, arguments, rates)
        self._last_step = self._link.length - 1 if self._link.length else NEVER

    def _next_directive(self, following: int, used: Directive) -> Directive:
        """The directive of a step that has no final directive yet."""
        closed = self._ending.is_closed
        if closed and self._hand_over != self._warn_once_closed and not self._directives.is_inert:
            # Another scheduler has taken this one's place, and its refusal says so.
            self._hand_over = _forget
        return self._directives.following(following, used, waits=not closed)

    def _end_with(self, report: Report) -> Directive:
        """Keep the report of the last step until the end, because evaluations that follow belong to it.

        No step of the training needs the directive that would follow. A step past the end goes out as any other does.
        """
        ending, mailbox, used = self._ending, self._mailbox, self._directive
        following = mailbox.next_step = report.step + 1
        last, ending.held = ending.held, None
        if last is not None:
            self._hand_over(last)
        if ending.is_closed:
            self._last_step = NEVER
        elif report.step > self._last_step:
            self._last_step = self._past_the_end(report, used or self.directive)
        if report.step == self._last_step:
            ending.held = report
            directive = self._take_final(following, None) or mailbox.book.fall_back(following, used or self.directive)
        else:
            self._hand_over(report)
            directive = self._take_final(following, None) or self._next_directive(following, used or self.directive)
        self._directive = directive
        return directive

    def _past_the_end(self, report: Report, used: Directive) -> int:
        """Warn of a step past the training's end, unless an order has put the end off; return the last step from now on."""
        length = self._link.length_now(self._options.deadline)
        if report.step < length:
            return length - 1
        if length:
            warn_past_the_end(self.job, report.step, length, used.rates)
        return NEVER

    def _look(self, steps: int) -> None:
        """Now and then, look whether what the controllers steer by has come."""
        job = self._link.job
        losses, norms = steps - self._lossless, steps - self._normless
        known = self._figures.names
        again = self._steering.look(job.spec if job is not None else None, steps, losses, norms, known)
        self._look_at = self._first_step + again
        if self._last_step == NEVER and self._link.length > self._mailbox.next_step:
            self._last_step = self._link.length - 1  # the job was not known at the start

    def _warn_once_closed(self, report: Report) -> None:
        self._hand_over = _forget
        log.warning(
            "Step %d of %s was reported after close(), so the service records neither this step nor later ones, and the "
            "rates no longer change. Close the scheduler when training is over.",
            report.step,
            self.job,
        )


def _forget(_: Report) -> None:
    pass


def _nothing(_: int, __: None) -> None:
    return None
