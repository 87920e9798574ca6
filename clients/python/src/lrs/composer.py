"""Composer: a callback that sets the learning rates of MosaicML's `Trainer` from the service."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from composer.core import Callback, Time, TimeUnit
from composer.optim.scheduler import ComposerScheduler
from composer.trainer import Trainer
from torch.optim.lr_scheduler import LambdaLR

from lrs.arguments import check_arguments
from lrs.contract import End, Training
from lrs.errors import UsageError
from lrs.torch import CallbackArguments, LRScheduler
from lrs.torch_schedules import schedule_of
from lrs.torch_training import scheduler_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from composer.core import State
    from composer.loggers import Logger
    from typing_extensions import Unpack

__all__ = ["LrsCallback"]

_TOTAL_LOSS = "loss/train/total"


class LrsCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Sets the rates of every update in place of the Trainer's `schedulers`, whose schedule becomes the job's.

    The loss is the Trainer's own: the mean of a batch over its microbatches and all ranks. A batch is an update. Give the
    Trainer no `GradientClipping`, so that the service bounds the gradient. The Trainer's checkpoints include the
    callback's state, and a second `fit` goes on where the first has ended.
    """

    def __init__(
        self,
        job: str,
        *,
        clip: bool = True,
        keep: bool = False,
        stop: bool = False,
        **arguments: Unpack[CallbackArguments],
    ) -> None:
        """Nothing is asked of the service before training begins.

        Args:
            job: See `lrs.Scheduler`.
            clip: Whether to clip the gradient to the service's bound and leave out updates that are not finite: tier 1.
            keep: Whether to keep copies of the model in memory and restore them: tier 2.
            stop: Whether to end the training when the service advises it.
            arguments: Those of `lrs.torch.LRScheduler` except `model`. By default, `total_steps` is that of the Trainer's
                `max_duration`, and `schedule` is that of its scheduler.
        """
        check_arguments(arguments, CallbackArguments, LrsCallback.__init__)
        self.scheduler: LRScheduler | None = None
        self._job = job
        self._clip = clip or keep
        self._keep = keep
        self._stop = stop
        self._arguments = arguments
        self._training: Training | None = None
        self._state: dict[str, Any] | None = None
        self._planned: Any = None
        self._losses: object = None
        self._rate: float | None = None

    def fit_start(self, state: State, logger: Logger) -> None:
        """Register or find the job, and begin an attempt at the Trainer's batch."""
        if self._training is not None:
            # An exception may have ended an earlier `fit` where no callback is told.
            self._training.end(End.STOPPED)
        if len(state.optimizers) != 1:
            raise UsageError(
                f"This Trainer has {len(state.optimizers)} optimizers, and LrsCallback sets the rates of one."
            )
        before, done = self.scheduler, int(state.timestamp.batch)
        trainer, self._planned = _calling_trainer(), state.max_duration
        asked: CallbackArguments = {"tier": 2 if self._keep else int(self._clip)}
        total = _batches(state.max_duration, state.dataloader_len)
        if total is not None:
            asked["total_steps"] = total
        if state.dataloader_len is not None:
            asked["steps_per_epoch"] = int(state.dataloader_len)
        if not {"schedule", "spec", "controllers"} & set(self._arguments):
            asked |= _schedule(state, trainer)
        self.scheduler = scheduler_of(
            state.optimizers[0],
            self._job,
            self._arguments,
            asked,
            model=state.model if self._keep else None,
            before=before,
        )
        self._training = Training(self.scheduler)
        for name in ("_train_batch", "_iter_dataloader", "_run_evaluators"):
            if trainer is not None:
                self._training.end_with(trainer, name)
        saved, self._state = self._state, None
        if saved is None and done > 0:
            known = before.state_dict() if before is not None else self.scheduler.state_dict() | {"attempt": 0}
            saved = known | {"step": done, "last_epoch": done}
        if saved is not None:
            self.scheduler.load_state_dict(saved)
        else:
            self.scheduler.begin()

    def batch_start(self, state: State, logger: Logger) -> None:
        """Keep what the loss of the last batch was."""
        self._losses = state.total_loss_dict

    def after_train_batch(self, state: State, logger: Logger) -> None:
        """Set the rates again, as the Trainer's own scheduler has set others, and clip to the service's bound."""
        if self.scheduler is None or self._training is None or self._training.ended is not None:
            return
        self.scheduler.apply_rates()
        rate = state.optimizers[0].param_groups[0]["lr"]
        self._rate = rate if isinstance(rate, float) else None  # a tensor is not read: it may be on a GPU
        if self._clip:
            self.scheduler.guard_in_trainer()

    def batch_end(self, state: State, logger: Logger) -> None:
        """Report the update, and set the rates of the next."""
        if self.scheduler is None or self._training is None or self._training.ended is not None:
            return
        losses = state.total_loss_dict
        if losses is not self._losses and isinstance(losses, dict):
            self._training.window.add(losses.get(_TOTAL_LOSS))
        self._training.update(updates=int(state.timestamp.batch), learning_rate=self._rate)
        if self._stop and self.scheduler.stop_advice:
            state.stop_training()

    def eval_end(self, state: State, logger: Logger) -> None:
        """Report an evaluation's metrics, each under `val_` and its name, or under the name of another evaluator."""
        if self._training is None or self._training.ended is not None:
            return
        label = str(state.dataloader_label or "eval")
        prefix = "val" if label == "eval" else label
        metrics = state.eval_metrics.get(label, {})
        self._training.evaluated({f"{prefix}_{name}": metric.compute() for name, metric in metrics.items()})

    def fit_end(self, state: State, logger: Logger) -> None:
        """The evaluation at the end is still to come, and the Trainer closes its callbacks later."""
        if self._training is None or self._training.ended is not None:
            return
        trainer, training = _calling_trainer(), self._training
        how = End.STOPPED if state.timestamp < self._planned else End.FINISHED
        if trainer is None:
            training.end(how)
            return

        def around(call: Callable[..., Any]) -> Callable[..., Any]:
            def run_evaluators(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
                call(*args, **kwargs)
                training.end(how)

            return run_evaluators

        training.wrap(trainer, "_run_evaluators", around)

    def close(self, state: State, logger: Logger) -> None:
        """Leave a training that ended in another way. The Trainer's end calls this."""
        if self._training is not None:
            self._training.end(End.STOPPED)

    def state_dict(self) -> dict[str, Any]:
        """The state that the Trainer's checkpoints include."""
        return self.scheduler.state_dict() if self.scheduler is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint: the Trainer calls this before training begins."""
        self._state = dict(state) or None


def _calling_trainer() -> Trainer | None:
    """The Trainer that calls the callback. It is no argument of the calls, so it is looked for among the callers."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back
    return None


def _batches(duration: Any, epoch: Any) -> int | None:  # noqa: ANN401
    """A duration in batches; `None` if it is counted in samples or tokens, or the length of an epoch is not known."""
    if duration is None:
        return None
    time = Time.from_input(duration)
    if time.unit == TimeUnit.BATCH:
        return int(time.value)
    return int(time.value) * int(epoch) if time.unit == TimeUnit.EPOCH and epoch is not None else None


def _schedule(state: State, trainer: Trainer | None) -> CallbackArguments:
    """The schedule of the Trainer's scheduler, as an argument; nothing if it has none."""
    if not state.schedulers:
        return {}
    if len(state.schedulers) > 1:
        raise UsageError("This Trainer has several schedulers, and LrsCallback sets the rates: give it `schedule=…`.")
    own = state.schedulers[0]
    by_epoch = getattr(trainer, "_scheduler_step_frequency", TimeUnit.BATCH) == TimeUnit.EPOCH
    kept = inspect.getclosurevars(own.lr_lambdas[0]).nonlocals if isinstance(own, LambdaLR) else {}
    stateless = kept.get("scheduler")
    if ComposerScheduler in type(stateless).__mro__:  # a protocol
        names = inspect.signature(type(stateless)).parameters
        params = {name: _written(getattr(stateless, name)) for name in names if hasattr(stateless, name)}
        if kept.get("ssr", 1.0) != 1.0:
            params["scale_schedule_ratio"] = kept["ssr"]
        if by_epoch:
            raise UsageError("LrsCallback sets a rate for every batch: leave out step_schedulers_every_batch=False.")
        curve = {"library": "composer", "scheduler": type(stateless).__name__, "params": params}
        # The Trainer steps its scheduler before it counts the batch, so its rates are a batch behind.
        return {"schedule": {"shift": {"schedule": curve, "steps": -1}}}
    return {"schedule": schedule_of(own, steps=int(state.dataloader_len or 1) if by_epoch else 1)}


def _written(value: Any) -> Any:  # noqa: ANN401
    """A parameter as a job file has it: times as texts."""
    if isinstance(value, (list, tuple)):
        return [_written(one) for one in value]
    return value.to_timestring() if isinstance(value, Time) else value
