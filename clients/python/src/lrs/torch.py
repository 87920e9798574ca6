"""PyTorch: a learning-rate scheduler whose rates come from the service."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrs import errors
from lrs.arguments import JobArguments, check_arguments
from lrs.broadcast import Broadcast, is_distributed
from lrs.copies import SchedulerCopy
from lrs.guard import clip_gradients, leave_out_if_unsound, parameters_of
from lrs.options import Options
from lrs.rates import Directive, Standing
from lrs.scheduler import Scheduler
from lrs.snapshots import Snapshots
from lrs.torch_groups import group_names, plain_rate, set_groups, set_rate, usual_lag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Unpack

__all__ = ["CallbackArguments", "LRScheduler", "Snapshots", "TorchArguments", "clip_gradients", "group_names"]


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

    With several ranks, rank 0 asks the service and sends its directives to the others. So every rank must make a scheduler and
    call `step`.
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
            optimizer: Its groups become the job's, with their `name` (or `group0` and so on) and their `lr` as base rate.
            job: See `lrs.Scheduler`.
            model: See `TorchArguments`.
            also_keep: See `CallbackArguments`.
            arguments: See `lrs.arguments.JobArguments`. Two defaults differ: `tier` is 2 with a model, else 0 (at tiers 1 and
                2, call `guard` before each update); `decision_lag` is 8 if a parameter is on a GPU, else 1.
        """
        check_arguments(arguments, JobArguments, LRScheduler.__init__)
        # accelerate wraps the optimizer in an object without hooks.
        while not hasattr(optimizer, "_optimizer_step_pre_hooks") and hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise errors.UsageError(f"optimizer must be a torch.optim.Optimizer, and was {type(optimizer).__name__}.")
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", plain_rate(group["lr"]))
        base_lrs = [plain_rate(group["initial_lr"]) for group in optimizer.param_groups]
        self.base_lrs = list[float | Tensor](base_lrs)
        self.last_epoch = 0
        self._step_count = 1
        self._last_lr = list(self.base_lrs)
        self._norm: Tensor | None = None
        tier = arguments.get("tier")
        tier = (2 if model is not None else 0) if tier is None else tier
        if tier >= 2 and model is None:
            raise errors.UsageError("A trainer of tier 2 keeps copies of its model: give `model`.")
        self.snapshots = Snapshots(model, optimizer, *also_keep) if model is not None else None
        names = group_names(optimizer)
        self._broadcast = Broadcast(len(names)) if is_distributed() else None
        self._directive = Directive(0, tuple(base_lrs), Standing.HELD)
        self.core: Scheduler | None = None
        lag = arguments.get("decision_lag")
        arguments["tier"] = tier
        arguments["decision_lag"] = lag if lag is not None else usual_lag(optimizer)
        groups = dict(zip(names, base_lrs, strict=True))
        options = arguments.get("options") or Options()
        if self._broadcast is not None and options.reporting_ranks is None:
            # Rank 0 reports for all, however many ranks the job was registered with.
            arguments["options"] = replace(options, reporting_ranks=1)

        def connect() -> None:
            self.core = Scheduler(job, groups=groups, **arguments)

        self._ask(connect)
        # The attempt begins at the first update, so that a checkpoint can be loaded before.
        self._begin_hook = optimizer.register_step_pre_hook(lambda *_: self.begin())
        self._has_begun = False

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
        learning_rate: float | None = None,
    ) -> None:
        """Report the last update, and set the rates of the next.

        Args:
            loss: The training loss: a number, or a tensor of one element on any device, which is read later.
            grad_norm: The norm of the whole gradient before clipping. Default: the norm that `guard` measured.
            metrics: Other numbers of this step, by name.
            learning_rate: The first group's rate in this update, if another rate has been set since.
        """
        if not self._has_begun:
            self.begin()
        if grad_norm is None and self._norm is not None:
            grad_norm, self._norm = self._norm, None
        groups = self.optimizer.param_groups
        if self._broadcast is None and self.core is not None:
            used = groups[0]["lr"] if learning_rate is None else learning_rate
            directive = self.core.step(
                loss, grad_norm, metrics, learning_rate=used if used.__class__ is float else None
            )
        else:
            directive = self._step_together(loss, grad_norm, metrics, learning_rate)
        self._directive = directive
        self.last_epoch += 1
        if directive.only_rates and (self.core is None or not self.core.has_late_actions):
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
        An update whose loss or norm is not finite is left out. The host never waits for a GPU; see `lrs.guard`.
        """
        if not self._has_begun:
            self.begin()
        directive = self._directive
        norm = clip_gradients(parameters_of(self.optimizer), directive.clip_norm)
        self._norm = norm
        return leave_out_if_unsound(self.optimizer, loss, norm, directive.skip_above_norm)

    def guard_in_trainer(self, loss: Tensor | float | None = None) -> None:
        """Like `guard`, for trainers that make every update: drops the gradients of an update to leave out."""
        if not self.guard(loss):
            for parameter in parameters_of(self.optimizer):
                parameter.grad = None

    def forget_norm(self) -> None:
        """Do not report the norm that `guard` measured, because the gradient was clipped before."""
        self._norm = None

    def log(self, **metrics: object) -> None:
        """Report metrics, such as an evaluation's `val_loss=0.3`, with the next reported step."""
        if self.core is not None:
            self.core.log(**metrics)

    @property
    def stop_advice(self) -> str:
        """The service's reason to stop training now; empty if it gives none."""
        return self._directive.stop_advice

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates in force, by parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float | Tensor]:
        """The rates in force too: they are not computed here."""
        return self.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, in plain values. Every rank returns that of rank 0."""
        state = self.core.state_dict() if self.core is not None else None
        if self._broadcast is not None:
            state = self._broadcast.share(state)
        return dict(state or {}, last_epoch=self.last_epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint. Call this before the first update; see `lrs.Scheduler.load_state_dict`."""
        self._ask(lambda: self.core.load_state_dict(state_dict) if self.core is not None else None)
        self.last_epoch = int(state_dict.get("last_epoch", 0))
        self.begin()

    def close(self, timeout: float | None = None) -> None:
        """Wait until the service has stored all reports, and end the connection; see `lrs.Scheduler.close`."""
        self._begin_hook.remove()
        if self.core is not None:
            self.core.close(timeout)

    def __enter__(self) -> LRScheduler:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[SchedulerCopy], tuple[dict[str, Any]]]:
        return SchedulerCopy, (self._copied_state(),)

    def _copied_state(self) -> dict[str, Any]:
        """The state for a copy. Asks no other rank."""
        state = {"step": self.last_epoch, "rates": list(self._directive.rates)}
        if self.core is not None:
            state = self.core.state_dict()
        return dict(state, last_epoch=self.last_epoch)

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
        if self._broadcast is None and self.core is not None:
            directive = self.core.directive
        elif self.core is not None and self._broadcast is not None:
            directive = self.core.directive
            directive = directive._replace(actions=tuple(self.core.take_actions()))
            self._broadcast.send(directive, directive.actions)
        elif self._broadcast is not None:
            directive = self._broadcast.receive()
        self._directive = directive
        self._apply(directive)

    def _step_together(
        self, loss: object, grad_norm: object, metrics: Mapping[str, object] | None, learning_rate: float | None
    ) -> Directive:
        broadcast = self._broadcast
        if broadcast is None:
            raise errors.UsageError("This scheduler was made in a single process: make it after init_process_group().")
        if self.core is None:
            return broadcast.receive()
        if learning_rate is None:
            rate = self.optimizer.param_groups[0]["lr"]
            learning_rate = rate if isinstance(rate, float) else None  # a tensor is not read: it may be on a GPU
        directive = self.core.step(loss, grad_norm, metrics, learning_rate=learning_rate)
        actions = self.core.take_actions()
        directive = directive._replace(actions=tuple(actions))
        broadcast.send(directive, actions)
        return directive

    def _apply(self, directive: Directive) -> None:
        """Set rates, momenta and weight decays, and carry out the actions."""
        if self.snapshots is not None:
            alone = self._broadcast is None and self.core is not None
            actions = self.core.take_actions() if alone and self.core is not None else directive.actions
            self.snapshots.apply(actions)
        set_groups(self.optimizer, directive)
