"""PyTorch: a learning-rate scheduler whose rates come from the service."""

from __future__ import annotations

import logging
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrs import errors
from lrs.arguments import JobArguments, check_arguments
from lrs.broadcast import Broadcast, is_distributed
from lrs.contract import SKIPPED_METRIC, Skipped
from lrs.copies import SchedulerCopy
from lrs.guard import clip_gradients, clip_to, gradients_of, judge, parameters_of
from lrs.habits import LOOKED_AT, UPDATES_WITHOUT_STEP, Habits
from lrs.implied import given_value, implying
from lrs.job import job_name
from lrs.joint_norm import JointNorm
from lrs.options import Options
from lrs.rates import Directive, Standing
from lrs.scheduler import Scheduler
from lrs.snapshots import Snapshots
from lrs.steps import whole
from lrs.torch_groups import base_rates_of, group_names, set_groups, set_rate, usual_lag
from lrs.update_ratio import EVERY, UPDATE_RATIO, UpdateRatio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Unpack

log = logging.getLogger("lrs")

#: The scheduler that sets an optimizer's rates.
_schedulers: weakref.WeakKeyDictionary[torch.optim.Optimizer, weakref.ref[LRScheduler]] = weakref.WeakKeyDictionary()
__all__ = ["CallbackArguments", "LRScheduler", "Snapshots", "TorchArguments", "clip_gradients", "group_names"]


# `torch.load` reads a copy of a scheduler by default: it is plain values.
torch.serialization.add_safe_globals([SchedulerCopy])


class CallbackArguments(JobArguments, total=False):
    """The arguments of a trainer's callback. The trainer tells it the model."""

    also_keep: Iterable[Any]
    """Other objects with a `state_dict` to keep copies of, such as an average of the weights. Default: none."""


class TorchArguments(CallbackArguments, total=False):
    """All keyword arguments of `LRScheduler`."""

    model: torch.nn.Module | None
    """The model to keep copies of, beside the optimizer. With a model, the default tier is 2."""


class LRScheduler(torch.optim.lr_scheduler.LRScheduler):
    """Sets the rates of an optimizer's parameter groups. Call `step(loss)` after each `optimizer.step()`.

    With several ranks, rank 0 asks the service and sends its directives to the others. So every rank must make a
    scheduler and call `step`.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        job: str,
        *,
        model: torch.nn.Module | None = None,
        also_keep: Iterable[Any] = (),
        **arguments: Unpack[JobArguments],
    ) -> None:
        """Find or register the job. The attempt begins at the first update, so load a checkpoint's state before it.

        Args:
            optimizer: Its groups become the job's, with their `name` (or `group0` and so on) and their `lr` as base
                rate.
            job: See `lrs.Scheduler`.
            model: See `TorchArguments`.
            also_keep: See `CallbackArguments`.
            arguments: See `lrs.arguments.JobArguments`. Two defaults differ: `tier` is 2 with a model, else 0 (at tiers
                1 and 2, call `guard` before each update); `decision_lag` is 8 if a parameter is on a GPU, else 1.
        """
        check_arguments(arguments, JobArguments, LRScheduler.__init__)
        given = dict(arguments)
        # accelerate wraps the optimizer in an object without hooks.
        while not hasattr(optimizer, "_optimizer_step_pre_hooks") and hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise errors.UsageError(f"optimizer must be a torch.optim.Optimizer, and was {type(optimizer).__name__}.")
        self.optimizer = optimizer
        names = group_names(optimizer)
        base_lrs = base_rates_of(optimizer)
        self.base_lrs = list[float | Tensor](base_lrs)
        self.last_epoch = 0
        self._step_count = 1
        self._last_lr = list(self.base_lrs)
        tier = given_value(arguments, "tier")
        tier = (2 if model is not None else 0) if tier is None else whole(tier, "tier")
        if model is not None and not isinstance(model, torch.nn.Module):
            raise errors.UsageError(f"model must be a torch.nn.Module, and was {model!r:.60}.")
        if tier >= 2 and model is None:
            raise errors.UsageError("A trainer of tier 2 keeps copies of its model: give `model`.")
        self.snapshots = Snapshots(model, optimizer, *also_keep) if model is not None else None
        self._take_over(job)
        self._job = job_name(job)
        self._names = names
        self._broadcast = Broadcast(len(names)) if is_distributed() else None
        self._norm_of = JointNorm(optimizer, self._broadcast)
        self._norm: Tensor | None = None
        self._skipped: Skipped | Tensor | None = None
        self._guarded = False
        self._applied = 0  # how often the optimizer was stepped since the last report
        self._has_applied = False
        self._habits: Habits | None = Habits(tier)
        self._directive = Directive(int(arguments.get("resume_step", 0)), tuple(base_lrs), Standing.HELD)
        self._attempt = 0
        self.core: Scheduler | None = None
        self._ratio: UpdateRatio | None = None
        filled_in = [name for name in ("tier", "decision_lag") if given_value(given, name) is None]
        arguments["tier"] = tier
        if "decision_lag" in filled_in:
            arguments["decision_lag"] = usual_lag(optimizer)
        groups = dict(zip(names, base_lrs, strict=True))
        options = arguments.get("options") or Options()
        if self._broadcast is not None and options.reporting_ranks is None:
            # Rank 0 reports for all, however many ranks the job was registered with.
            arguments["options"] = replace(options, reporting_ranks=1)

        def connect() -> None:
            with implying(filled_in):
                self.core = Scheduler(job, groups=groups, **arguments)
            self._ratio = UpdateRatio(optimizer)

        self._ask(connect)
        _schedulers[optimizer] = weakref.ref(self)
        # The attempt begins at the first update, so that a checkpoint can be loaded before.
        self._has_begun = False
        this = weakref.ref(self)  # the optimizer does not keep a scheduler alive that nobody else has
        self._begin_hook = optimizer.register_step_pre_hook(lambda *_: _begin(this))
        self._count_hook = optimizer.register_step_post_hook(lambda *_: _count(this))
        for hook in (self._begin_hook, self._count_hook):
            weakref.finalize(self, hook.remove).atexit = False

    def begin(self) -> None:
        """Start the attempt and set the rates of the first update. The first update calls this if nothing else did."""
        if not self._has_begun:
            self._begin()

    def step(
        self,
        loss: object = None,
        grad_norm: object = None,
        metrics: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        learning_rate: float | None = None,
    ) -> None:
        """Report the last update, and set the rates of the next.

        Args:
            loss: The training loss: a number, or a tensor of one element on any device, which is read later.
            grad_norm: The norm of the whole gradient before clipping. Default: the norm that `guard` measured.
            metrics: Other numbers of this step, by name.
            step: The number of this update, if the trainer leaves numbers out. Default: `next_step`.
            learning_rate: The first group's rate in this update, if another rate has been set since.
        """
        if not self._has_begun:
            self.begin()
        if grad_norm is None and self._norm is not None:
            grad_norm = self._norm
        applied, self._applied = self._applied, 0
        skipped = self._skipped
        if not applied and skipped is None and self._has_applied:
            skipped = Skipped.BY_TRAINER
        habits = self._habits
        if habits is not None:
            habits.step(loss, applied, guarded=self._guarded)
            if self.last_epoch >= LOOKED_AT:
                self._habits = None
        self._norm, self._skipped, self._guarded = None, None, False
        groups = self.optimizer.param_groups
        if len(groups) != len(self._names):
            self._grow()
        core, phase = self.core, self.last_epoch % EVERY
        if core is not None and (skipped is not None or phase == 0):
            metrics = self._with_own(metrics, skipped)
        if self._broadcast is None and core is not None:
            used = groups[0]["lr"] if learning_rate is None else learning_rate
            directive = core.step(
                loss,
                grad_norm,
                metrics,
                step=None if step is None else max(step, core.next_step),
                learning_rate=used if used.__class__ is float else None,
            )
        else:
            directive = self._step_together(loss, grad_norm, metrics, step, learning_rate)
        self._directive = directive
        self.last_epoch += 1
        if phase == EVERY - 1 and self._ratio is not None:
            self._ratio.watch()
        if directive.only_rates and (core is None or not core.has_late_actions):
            for group, rate in zip(groups, directive.rates, strict=False):  # see `set_groups`
                if group["lr"].__class__ is float:
                    group["lr"] = rate
                else:
                    set_rate(group, rate)
        else:
            self._apply(directive)

    def guard(self, loss: Tensor | float | None = None) -> bool:
        """Measure the gradient's norm, clip it to the service's bound, and return whether to make the update.

        Call it after `backward()` (and after a GradScaler's `unscale_`): `if scheduler.guard(loss): optimizer.step()`.
        An update whose loss or norm is not finite is left out. With several ranks, the norm is that of the whole
        gradient, however the model is spread over them, and it alone decides: all ranks make an update, or none does.
        The host never waits for a GPU; see `lrs.guard`.
        """
        if not self._has_begun:
            self.begin()
        directive = self._directive
        gradients = gradients_of(self.optimizer)
        norm = self._norm_of(gradients)
        clip_to(gradients, norm, directive.clip_norm)
        self._norm, self._guarded = norm, True
        # A loss is that of this rank's batch alone.
        deciding = loss if self._broadcast is None else None
        verdict = judge(self.optimizer, deciding, norm, directive.skip_above_norm)
        self._skipped = verdict.skipped
        return verdict.makes

    def guard_in_trainer(self, loss: Tensor | float | None = None) -> None:
        """Like `guard`, for trainers that make every update: drops the gradients of an update to leave out."""
        if not self.guard(loss):
            for parameter in parameters_of(self.optimizer):
                parameter.grad = None

    def judge_in_trainer(self, norm: Tensor, loss: Tensor | float | None = None) -> None:
        """Like `guard_in_trainer`, for trainers that measure the norm of the whole gradient and clip it themselves."""
        if not self._has_begun:
            self.begin()
        self._norm, self._guarded = norm, True
        deciding = loss if self._broadcast is None else None
        verdict = judge(self.optimizer, deciding, norm, self._directive.skip_above_norm)
        self._skipped = verdict.skipped
        if not verdict.makes:
            for parameter in parameters_of(self.optimizer):
                parameter.grad = None

    def forget_norm(self) -> None:
        """Do not report the norm that `guard` measured, because the gradient was clipped before."""
        self._norm = None

    def apply_rates(self) -> None:
        """Set the rates of the next update again, where the trainer's own scheduler may have set others."""
        if self._has_begun:
            set_groups(self.optimizer, self._directive)

    def leave_habits(self) -> None:
        """Do not look for forgotten calls: an adapter makes them, and knows the trainer's own scheduler."""
        self._habits = None

    def log(self, *given: Mapping[str, object], **metrics: object) -> None:
        """Report metrics, such as an evaluation's `val_loss=0.3`, with the next reported step; see `lrs.Scheduler.log`."""
        if self.core is not None:
            self.core.log(*given, **metrics)

    @property
    def next_step(self) -> int:
        """The step that is trained next."""
        return self.core.next_step if self.core is not None else self._directive.step

    @property
    def stop_advice(self) -> str:
        """The service's reason to stop training now; empty if it gives none."""
        return self._directive.stop_advice

    def leave_ranks(self) -> bool:
        """Exchange nothing with other ranks any more, at the end. Returns whether this rank reports."""
        self._broadcast = None
        return self.core is not None

    def mean_over_ranks(self, loss: Tensor | float | None) -> Tensor | float | None:
        """The mean loss of the ranks that know one. All ranks must call this together, and the host waits for their devices."""
        return loss if self._broadcast is None else self._broadcast.mean(loss)

    @property
    def clip_norm(self) -> float | None:
        """The service's bound for the norm of the next update's gradient; `None` if there is none. For a trainer that clips."""
        return self._directive.clip_norm

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates in force, by parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float | Tensor]:
        """The rates in force too: they are not computed here."""
        return self.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, in plain values. All ranks have the same, and none waits for another."""
        if self._broadcast is None and self.core is not None:
            state = self.core.state_dict()
        else:
            directive = self._directive
            state = {"version": 1, "job": self._job, "attempt": self._attempt, "step": directive.step}
            state["rates"] = list(directive.rates)
        return dict(state, last_epoch=self.last_epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint. Call this before the first update; see `lrs.Scheduler.load_state_dict`."""
        self._ask(lambda: self.core.load_state_dict(state_dict) if self.core is not None else None)
        self.last_epoch = int(state_dict.get("last_epoch", 0))
        self.begin()  # which all ranks do together

    def close(self, timeout: float | None = None) -> None:
        """Wait until the service has stored all reports, and end the connection; see `lrs.Scheduler.close`."""
        self._begin_hook.remove()
        self._count_hook.remove()
        if self._ratio is not None:
            self._ratio.stop()
        known = _schedulers.get(self.optimizer)
        if known is not None and known() is self:
            del _schedulers[self.optimizer]
        if self.core is not None:
            self.core.close(timeout)

    def __enter__(self) -> LRScheduler:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[SchedulerCopy], tuple[dict[str, Any]]]:
        return SchedulerCopy, (self.state_dict(),)

    def _ask(self, question: Callable[[], None]) -> None:
        """Ask on the asking rank. An error is raised on all ranks, so that no rank waits for a rank that has left."""
        if self._broadcast is None:
            question()
            return
        problem: errors.LrsError | None = None
        if self._broadcast.is_asker:
            try:
                question()
            except errors.LrsError as raised:
                problem = raised
        problem = self._broadcast.share(problem)
        if problem is not None:
            raise problem

    def _begin(self) -> None:
        self._has_begun = True
        self._begin_hook.remove()
        if self._habits is not None and hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            self._habits.other_scheduler()
        if len(self.optimizer.param_groups) != len(self._names):
            self._grow()
        if self._broadcast is None and self.core is not None:
            directive = self.core.directive
        elif self.core is not None:
            directive = self._send(self.core, self.core.directive)
        else:
            directive = self._receive()
        self._directive = directive
        self._apply(directive)

    def _take_over(self, job: str) -> None:
        """Close the scheduler that has set the optimizer's rates so far."""
        known = _schedulers.get(self.optimizer)
        other = known() if known is not None else None
        if other is None:
            return
        if other._has_begun:
            log.warning(
                "%s takes over the optimizer of %s, whose scheduler is closed: only one can set its rates. Give each "
                "optimizer a scheduler of its own, or close the first.",
                job_name(job),
                other._job,
            )
        other.close()

    def _grow(self) -> None:
        """Take in the groups that were added to the optimizer. Their base rates are their own rates."""
        groups = self.optimizer.param_groups
        names = [*self._names]
        for index in range(len(names), len(groups)):
            name = str(groups[index].get("name", f"group{index}"))
            names.append(name if name not in names else f"{name}:{index}")
        self._names = names[: len(groups)]
        base_lrs = base_rates_of(self.optimizer)
        self.base_lrs = list[float | Tensor](base_lrs)
        if self.core is not None:
            self.core.grow(dict(zip(self._names, base_lrs, strict=True)))

    def _with_own(
        self, metrics: Mapping[str, object] | None, skipped: Skipped | Tensor | None
    ) -> Mapping[str, object] | None:
        """The metrics of a step with those that the scheduler measures."""
        own: dict[str, object] = {}
        if skipped is not None:
            own[SKIPPED_METRIC] = skipped if isinstance(skipped, Tensor) else float(skipped)
        if self._ratio is not None:
            ratio = self._ratio.take()
            if ratio is not None:
                own[UPDATE_RATIO] = ratio
        return {**metrics, **own} if metrics else own or None

    def _send(self, core: Scheduler, directive: Directive) -> Directive:
        """Send a directive with all actions that are due to the other ranks. Only the asking rank calls this."""
        directive = directive._replace(actions=tuple(core.take_actions()))
        self._attempt = core.attempt
        if self._broadcast is not None:
            self._broadcast.send(directive, self._attempt)
        return directive

    def _receive(self) -> Directive:
        if self._broadcast is None:
            raise errors.UsageError("This scheduler was made in a single process: make it after init_process_group().")
        directive, self._attempt = self._broadcast.receive()
        return directive

    def _step_together(
        self,
        loss: object,
        grad_norm: object,
        metrics: Mapping[str, object] | None,
        step: int | None,
        learning_rate: float | None,
    ) -> Directive:
        core = self.core
        if core is None:
            return self._receive()
        if learning_rate is None:
            rate = self.optimizer.param_groups[0]["lr"]
            learning_rate = rate if isinstance(rate, float) else None  # a tensor is not read: it may be on a GPU
        step = None if step is None else max(step, core.next_step)
        return self._send(core, core.step(loss, grad_norm, metrics, step=step, learning_rate=learning_rate))

    def _apply(self, directive: Directive) -> None:
        """Set rates, momenta and weight decays, and carry out the actions."""
        if self.snapshots is not None:
            alone = self._broadcast is None and self.core is not None
            actions = self.core.take_actions() if alone and self.core is not None else directive.actions
            self.snapshots.apply(actions)
        set_groups(self.optimizer, directive)


def _begin(scheduler: weakref.ref[LRScheduler]) -> None:
    """Before the first update of a scheduler's optimizer."""
    this = scheduler()
    if this is not None:
        this.begin()


def _count(scheduler: weakref.ref[LRScheduler]) -> None:
    """After an update of a scheduler's optimizer."""
    this = scheduler()
    if this is not None:
        this._applied += 1
        this._has_applied = True
        if this._applied == UPDATES_WITHOUT_STEP and this._habits is not None:
            this._habits.never()
