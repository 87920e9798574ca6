"""DeepSpeed: a scheduler that follows an engine's accumulation, its skipped updates and its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrs.arguments import check_arguments
from lrs.contract import Skipped
from lrs.torch import TorchArguments
from lrs.torch_follower import Follower
from lrs.torch_schedules import schedule_of
from lrs.torch_training import scheduler_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from lrs.torch import CallbackArguments

__all__ = ["LRScheduler"]


class LRScheduler(Follower):
    """Sets the rates of an engine's optimizer in place of the engine's own scheduler, whose schedule becomes the job's.

    Make it after `deepspeed.initialize`, on every rank, and leave the loop as it is: the losses are those given to
    `engine.backward`, or returned by a pipeline's `train_batch`. The engine's checkpoints include the scheduler's state.

    ZeRO and 16-bit optimizers clip to the service's bound themselves, leave out what overflows, and report their own
    norm of the gradient. They do not leave out updates above the service's bound.
    """

    def __init__(self, engine: Any, job: str, **arguments: Unpack[TorchArguments]) -> None:  # noqa: ANN401
        """Register or find the job.

        Args:
            engine: What `deepspeed.initialize` returned first.
            job: See `lrs.Scheduler`.
            arguments: Those of `lrs.torch.LRScheduler`. By default, `tier` is 1, and `schedule` is that of the engine's
                own scheduler.
        """
        check_arguments(arguments, TorchArguments, LRScheduler.__init__)
        model = arguments.pop("model", None)
        given: CallbackArguments = arguments
        own = engine.lr_scheduler
        asked: CallbackArguments = {"tier": 1 if model is None else 2}
        if own is not None and not isinstance(own, LRScheduler) and not {"schedule", "spec"} & set(given):
            asked["schedule"] = _schedule(engine, own)
            # It has set other rates already.
            peaks = getattr(own, "org_lrs", None) or getattr(own, "max_lrs", None) or ()
            for group, peak in zip(engine.basic_optimizer.param_groups, peaks, strict=False):
                group.setdefault("initial_lr", float(peak))
        scheduler = scheduler_of(engine.basic_optimizer, job, given, asked, model=model, may_go_on=False)
        super().__init__(scheduler)
        self._engine = engine
        # ZeRO and 16-bit optimizers keep the gradients to themselves.
        self._sees_gradients = engine.optimizer is engine.basic_optimizer
        self._clips_at = float(getattr(engine.optimizer, "clip_grad", 0.0) or 0.0)
        self._is_pipeline = hasattr(engine, "agg_train_loss")
        engine.lr_scheduler = self
        self._training.hook(self._restore_bound)
        self._training.wrap(engine, "_take_model_step", self._around_update)
        if self._is_pipeline:
            self._training.wrap(engine, "train_batch", self._around_batches)
        else:
            self._training.wrap(engine, "backward", self._around_backward)

    def add_loss(self, loss: object) -> None:
        """Tell the loss of a batch, where a loop calls `loss.backward()` in place of `engine.backward(loss)`."""
        self._training.window.add(loss)

    def step(self, *_: object, **__: object) -> None:
        """The engine calls this after an update: it is reported already, skipped updates too."""

    def _around_backward(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def backward(loss: Any, retain_graph: bool = False, scale_wrt_gas: bool = True, **more: Any) -> Any:  # noqa: ANN401
            window = self._training.window
            (window.add if scale_wrt_gas else window.add_share)(loss)
            return call(loss, retain_graph=retain_graph, scale_wrt_gas=scale_wrt_gas, **more)

        return backward

    def _around_batches(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def train_batch(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            loss = call(*args, **kwargs)
            self._training.window.add(loss)
            self._report()
            return loss

        return train_batch

    def _around_update(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def take_model_step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self._before_update()
            done = call(*args, **kwargs)
            if not self._is_pipeline:
                self._report()
            return done

        return take_model_step

    def _before_update(self) -> None:
        scheduler, engine = self.scheduler, self._engine
        scheduler.begin()
        scheduler.apply_rates()
        if self._sees_gradients:
            scheduler.guard_in_trainer(self._training.window.so_far)
        elif hasattr(engine.optimizer, "clip_grad"):
            bounds = [bound for bound in (self._clips_at, scheduler.clip_norm) if bound]
            engine.optimizer.clip_grad = min(bounds, default=0.0)

    def _restore_bound(self) -> None:
        if hasattr(self._engine.optimizer, "clip_grad"):
            self._engine.optimizer.clip_grad = self._clips_at

    def _report(self) -> None:
        engine = self._engine
        self._training.update(
            updates=engine.global_steps,
            skipped=None if engine.was_step_applied() else Skipped.BY_TRAINER,
            grad_norm=None if self._sees_gradients else engine.get_global_grad_norm(),
        )


def _schedule(engine: Any, own: Any) -> dict[str, Any]:  # noqa: ANN401
    """The schedule of an engine's own scheduler, which the configuration names, or which the client gave."""
    name = engine.scheduler_name()
    if engine.client_lr_scheduler is None and name is not None and type(own).__module__.startswith("deepspeed."):
        return {"library": "deepspeed", "scheduler": name, "params": dict(engine.scheduler_params() or {})}
    return schedule_of(own)
