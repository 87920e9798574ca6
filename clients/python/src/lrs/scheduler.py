"""The scheduler: asks the service for each step's learning rate, and never stops the training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lrs import errors
from lrs.arguments import SchedulerArguments, bounds, check_arguments
from lrs.attempt import attempt_token as token_of_environment
from lrs.attempt import checked_token
from lrs.directives import Directives
from lrs.figures import Figures
from lrs.implied import implied_fields
from lrs.job import base_rates, job_name, job_spec
from lrs.late_actions import LateActions
from lrs.lifetime import living
from lrs.link import Link
from lrs.mailbox import NEVER
from lrs.once import WarnOnce
from lrs.overview import Overview
from lrs.registration import Errand
from lrs.reported import number, reading
from lrs.reports import Report
from lrs.resume import checked_state
from lrs.steering import LOSS_AFTER, Steering
from lrs.steps import first_step, next_step, whole
from lrs.wire import server_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Unpack

    from lrs.rates import Action, Directive

log = logging.getLogger("lrs")


class Scheduler(Overview):
    """An attempt of a job, for its trainer.

    Read `directive` (or `learning_rate`) before a step, and call `step` after it. Only the thread that trains may call
    `step`; any thread may call everything else. In a forked child the scheduler does nothing and holds its rates.
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
            UnreachableError: If the server does not answer, and `strict` is set or no base rate is known.
        """
        check_arguments(arguments, SchedulerArguments, Scheduler.__init__)
        self.server = server_address(arguments.get("server"))
        self.job = job_name(job)
        self._first_step = first_step(arguments.get("resume_step", 0))
        self._options = bounds(arguments)
        self.attempt_token = checked_token(arguments.get("attempt_token")) or token_of_environment()
        groups = arguments.get("groups")
        rates = base_rates(groups)
        names = list(rates) if isinstance(groups, Mapping) else None
        tier = whole(arguments.get("tier") or 0, "tier")
        asked = job_spec(arguments, rates)
        self._figures = Figures()
        self._directive: Directive | None = None
        self._closed = False
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
            self.attempt_token,
            base_lrs,
            ranks,
            self._options.strict,
            implied_fields(),
        )
        self._link = Link(errand, self._options)
        self._mailbox = self._link.mailbox
        self._mailbox.next_step = self._first_step
        self._late = LateActions(self._mailbox)
        self._directives = Directives(
            self._link, self._options, base_rates=tuple(rates.values()), late=self._late if tier >= 2 else None
        )
        # Looked up once, because `step` calls these every time.
        self._hand_over: Callable[[Report], None] = self._mailbox.inbox.append
        self._take_final: Callable[[int, None], Directive | None] = self._mailbox.book.finals.pop
        self._link.start()
        living.add(self)
        self._await_registration()

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
        self._hand_over(Report(trained, loss, grad_norm, used, learning_rate, figures))
        following = trained + 1
        mailbox.next_step = following
        if following >= self._look_at:
            self._look(following - self._first_step)
        directive = self._take_final(following, None)
        if directive is None:
            directive = self._directives.following(following, used, waits=not self._closed)
        elif following >= mailbox.wake_at:
            mailbox.wake_at = NEVER
            mailbox.wake()
        self._directive = directive
        return directive

    def log(self, **metrics: object) -> None:
        """Report metrics, such as an evaluation's `val_loss=0.3`, with the next reported step.

        Reporting a step closes it, so metrics measured after it belong to the step that follows. A metric that is
        logged several times before that step keeps all its values, in this order; the service takes 64 of them.

        Never raises for what was measured. Characters that a name may not hold are replaced by `_`, and what is no
        number, or beyond the 63 names of an attempt, is left out: `metrics_left_out` counts, and the log says so once.
        """
        self._figures.log(metrics)

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
        self._begin()
        refusal = self._link.refusal
        if refusal is not None:
            raise refusal

    # The end.

    def close(self, timeout: float | None = None) -> None:
        """Wait until the service has stored all reports, up to `timeout` seconds, and end the connection.

        Runs at the end of the process if it did not run before. Further calls do nothing.

        Raises:
            NotDurableError: If the service has not confirmed all reports, and `strict` is set.
        """
        if self._closed or self._directives.is_inert:
            return
        self._closed = True
        living.discard(self)
        if self._figures.pending and self._directive is not None:
            # An evaluation after the last step is recorded at the step that would have come next.
            self._hand_over(Report(self._mailbox.next_step, None, None, None, None, self._figures.take()))
        wait = self._options.close_timeout if timeout is None else timeout
        left = self._link.close(wait)
        self._hand_over = self._warn_once_closed
        if left:
            steps = "1 step" if left == 1 else f"{left} steps"
            text = f"The service did not confirm {steps} of {self.job} within {wait:g} s: {self._directives.why_away()}"
            if self._options.strict:
                raise errors.NotDurableError(text, code="UNAVAILABLE")
            if self._link.refusal is None:  # a refusal has been logged
                log.warning("%s", text)

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork_in_child(self) -> None:
        """Do nothing from now on: the link's threads and its connection belong to the parent."""
        # Send nothing, and wait for no lock.
        self._directives.is_inert = True
        self._figures.after_fork()
        self._hand_over = _forget
        self._take_final = _nothing

    def _await_registration(self) -> None:
        link, timeout = self._link, self._options.start_timeout
        link.await_registration(timeout)
        if link.refusal is not None:
            self._give_up()
            raise link.refusal
        link.announces = True
        if link.job is None:
            text = (
                f"{self.server} did not answer within {timeout} s ({link.last_failure or 'no answer'}). "
                "Is `lrs serve` running there, and is this the port of its gRPC interface? "
            )
            if self._options.strict or not self._directives.base_rates:
                self._give_up()
                if not self._options.strict:
                    text += "To begin without the server, give `groups`, the base rates."
                raise errors.UnreachableError(text.rstrip(), code="UNAVAILABLE")
            self._directives.is_away = True
            log.warning("%sTraining begins with the given base rates, and the client keeps trying to connect.", text)

    def _look(self, steps: int) -> None:
        """Now and then, look whether what the controllers steer by has come."""
        job = self._link.job
        losses, norms = steps - self._lossless, steps - self._normless
        known = self._figures.names
        again = self._steering.look(job.spec if job is not None else None, steps, losses, norms, known)
        self._look_at = self._first_step + again

    def _give_up(self) -> None:
        self._closed = True
        living.discard(self)
        self._link.close(0)

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
