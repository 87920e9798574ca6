"""PyTorch: a scheduler of learning rates whose rates come from the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrs import errors
from lrs.arguments import JobArguments, check_arguments
from lrs.broadcast import Broadcast, is_distributed
from lrs.guard import clip_gradients, leave_out_if_unsound, parameters_of
from lrs.rates import Directive, Standing
from lrs.scheduler import Scheduler
from lrs.snapshots import Snapshots
from lrs.torch_groups import group_names, plain_rate, set_groups, set_rate, usual_lag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Unpack

__all__ = ["CallbackArguments", "LRScheduler", "Snapshots", "TorchArguments", "clip_gradients", "group_names"]


class CallbackArguments(JobArguments, total=False):
    """The arguments of a trainer's callback, which knows the model itself."""

    also_keep: Iterable[Any]
    """Further things with a `state_dict` to keep copies of, such as an average of the weights. Default: none."""


class TorchArguments(CallbackArguments, total=False):
    """All keywords of `LRScheduler`."""

    model: torch.nn.Module | None
    """What to keep copies of with the optimizer; makes this a trainer of tier 2."""


class LRScheduler(torch.optim.lr_scheduler.LRScheduler):
    """Sets the rates of an optimizer's parameter groups; call `step(loss)` after each `optimizer.step()`.

    With several ranks, rank 0 asks and the others are told, so all of them must make one and call `step` together.
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
        """Register or find the job; the attempt begins at the first update, so load a checkpoint's state before that.

        Args:
            optimizer: Its groups become the job's: a group's `name`, or `group0` and so on, and its `lr` as base rate.
            job: See `lrs.Scheduler`.
            model: What to keep copies of with the optimizer; makes this a trainer of tier 2.
            also_keep: Further things with a `state_dict` to keep with them, such as an average of the weights.
            arguments: See `lrs.arguments.JobArguments`, with two defaults of its own: `tier` is 2 with a model, else 0 (at
                tier 1 and 2, call `guard` before each update); `decision_lag` is 8 if a parameter is on a GPU, else 1.
        """
        check_arguments(arguments, JobArguments, LRScheduler.__init__)
        # accelerate wraps optimizers in one that has no groups' hooks of its own.
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

        def connect() -> None:
            self.core = Scheduler(job, groups=groups, **arguments)

        self._ask(connect)
        # The attempt begins at the first update, so that there is time to load a checkpoint before.
        self._begin_hook = optimizer.register_step_pre_hook(lambda *_: self.begin())
        self._has_begun = False

    def begin(self) -> None:
        """Start the attempt and set the rates of the first update. Done by the first update, if not before."""
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
        """Report the update just made, and set the rates of the next one.

        Args:
            loss: The training loss: a number, or a tensor of one element on any device. Its value is read later.
            grad_norm: The norm of the whole gradient before clipping. Default: what `guard` measured.
            metrics: Other figures of this step, by name.
            learning_rate: The first group's rate that was used, if something has set another since.
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
            for group, rate in zip(groups, directive.rates, strict=True):
                if group["lr"].__class__ is float:
                    group["lr"] = rate
                else:
                    set_rate(group, rate)
        else:
            self._apply(directive)

    def guard(self, loss: Tensor | float | None = None) -> bool:
        """Measure the gradient's norm, clip to the bound that was told, and say whether to make the update.

        Call it after `backward()` (and after a GradScaler's `unscale_`): `if scheduler.guard(loss): optimizer.step()`.
        An update whose loss or norm is not finite is left out. On a GPU nothing is waited for; see `lrs.guard`.
        """
        if not self._has_begun:
            self.begin()
        directive = self._directive
        norm = clip_gradients(parameters_of(self.optimizer), directive.clip_norm)
        self._norm = norm
        return leave_out_if_unsound(self.optimizer, loss, norm, directive.skip_above_norm)

    def guard_in_trainer(self, loss: Tensor | float | None = None) -> None:
        """Do as `guard`, for trainers that make every update: one that is to be left out finds no gradients."""
        if not self.guard(loss):
            for parameter in parameters_of(self.optimizer):
                parameter.grad = None

    def forget_norm(self) -> None:
        """Do not report the norm that `guard` measured, because it was not the whole gradient's."""
        self._norm = None

    def log(self, **metrics: object) -> None:
        """Report figures, such as an evaluation's `val_loss=0.3`, with the next step that is reported."""
        if self.core is not None:
            self.core.log(**metrics)

    @property
    def stop_advice(self) -> str:
        """Why training could stop now; empty while nothing speaks for it."""
        return self._directive.stop_advice

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates in force, by parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float | Tensor]:
        """The same; rates are not computed here."""
        return self.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """What to put into a checkpoint: plain values. On ranks other than 0, what rank 0 has."""
        state = self.core.state_dict() if self.core is not None else None
        if self._broadcast is not None:
            state = self._broadcast.share(state)
        return dict(state or {}, last_epoch=self.last_epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was made. Comes before the first update; see `lrs.Scheduler.load_state_dict`."""
        self._ask(lambda: self.core.load_state_dict(state_dict) if self.core is not None else None)
        self.last_epoch = int(state_dict.get("last_epoch", 0))
        self.begin()

    def close(self, timeout: float | None = None) -> None:
        """Wait until all that was reported is durable, and end the connection; see `lrs.Scheduler.close`."""
        self._begin_hook.remove()
        if self.core is not None:
            self.core.close(timeout)

    def __enter__(self) -> LRScheduler:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    # A copy of this would be a second reporter of the same attempt.
    def __deepcopy__(self, memo: object) -> LRScheduler:
        return self

    def _ask(self, question: Callable[[], None]) -> None:
        """Ask on the rank that asks; what is wrong is raised on all ranks, so that none waits for one that has left."""
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
            raise errors.UsageError("This scheduler was made in a single process; make it after init_process_group().")
        if self.core is None:
            return broadcast.receive()
        if learning_rate is None:
            rate = self.optimizer.param_groups[0]["lr"]
            learning_rate = rate if isinstance(rate, float) else None  # a tensor's value is not looked at
        directive = self.core.step(loss, grad_norm, metrics, learning_rate=learning_rate)
        actions = self.core.take_actions()
        directive = directive._replace(actions=tuple(actions))
        broadcast.send(directive, actions)
        return directive

    def _apply(self, directive: Directive) -> None:
        """Set rates, momenta and weight decays, and do what is to be done."""
        if self.snapshots is not None:
            alone = self._broadcast is None and self.core is not None
            actions = self.core.take_actions() if alone and self.core is not None else directive.actions
            self.snapshots.apply(actions)
        set_groups(self.optimizer, directive)
