"""Lightning: a callback that sets the learning rates of a `Trainer` from the service."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrs.arguments import check_arguments
from lrs.contract import End, Training
from lrs.errors import UsageError
from lrs.figures import allowed_name
from lrs.named import NamedMetrics, is_evaluation
from lrs.torch import CallbackArguments, LRScheduler
from lrs.torch_schedules import controller_of, schedule_of
from lrs.torch_training import scheduler_of
from lrs.typed import judged_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lightning.pytorch import LightningModule, Trainer
    from typing_extensions import Unpack

__all__ = ["LrsCallback"]

log = logging.getLogger("lrs")


class LrsCallback(Callback):
    """Sets the rates of every update. `configure_optimizers` must return one optimizer.

    A scheduler of PyTorch that it returns too becomes the job's schedule, and sets no rates. Leave the Trainer's
    `gradient_clip_val` unset, so that the service bounds the gradient. The Trainer's checkpoints include the callback's
    state, so training resumes from them, and a second `fit` goes on where the first has ended.
    """

    def __init__(
        self,
        job: str,
        *,
        metrics: Iterable[str] = ("val_loss",),
        clip: bool = True,
        keep: bool = False,
        stop: bool = False,
        **arguments: Unpack[CallbackArguments],
    ) -> None:
        """Nothing is asked of the service before training begins.

        Args:
            job: See `lrs.Scheduler`.
            metrics: The names of the logged metrics to report after a validation, beside those that the job's controllers
                and objective name, which are reported whenever the module logs them.
            clip: Whether to clip the gradient to the service's bound and leave out updates that are not finite: tier 1.
            keep: Whether to keep copies of the model in memory and restore them: tier 2.
            stop: Whether to end the training when the service advises it.
            arguments: Those of `lrs.torch.LRScheduler` except `model`. By default, `total_steps` is the Trainer's, and
                `schedule` is that of the module's scheduler.
        """
        check_arguments(arguments, CallbackArguments, LrsCallback.__init__)
        self.scheduler: LRScheduler | None = None
        self._job = job
        self._metrics = tuple(metrics)
        self._clip = clip or keep
        self._keep = keep
        self._stop = stop
        self._arguments = arguments
        self._state: dict[str, Any] | None = None
        self._training: Training | None = None
        self._named = NamedMetrics(None)
        self._due_training: set[str] = set()  # named metrics that the module has logged since they were reported
        self._due_validation: set[str] = set()
        self._updates = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register or find the job, and begin an attempt at the Trainer's step."""
        if len(trainer.optimizers) != 1:
            raise UsageError(
                f"This module has {len(trainer.optimizers)} optimizers, but LrsCallback sets the rates of a single one. In "
                "configure_optimizers, make an lrs.torch.LRScheduler with a job of its own for each optimizer."
            )
        before = self.scheduler
        if self._training is not None:
            self._training.end(End.STOPPED)
        asked: CallbackArguments = {"tier": 2 if self._keep else int(self._clip)}
        total = trainer.estimated_stepping_batches
        if total != float("inf"):
            asked["total_steps"] = int(total)
        batches = trainer.num_training_batches
        if batches != float("inf"):
            # What is left over at the end of an epoch is an update of its own.
            asked["steps_per_epoch"] = max(1, math.ceil(batches / max(1, trainer.accumulate_grad_batches)))
        asked |= self._schedule(trainer, asked.get("steps_per_epoch"))
        asked |= self._objective(trainer)
        model = pl_module if self._keep else None
        self.scheduler = scheduler_of(
            trainer.optimizers[0], self._job, self._arguments, asked, model=model, before=before
        )
        self._training = Training(self.scheduler)
        self._follow(trainer, pl_module, self._training, NamedMetrics(self.scheduler.core))
        self._updates = trainer.global_step
        saved, self._state = self._state, None
        if saved is None and trainer.global_step > 0:
            # The Trainer goes on where an earlier `fit` has ended; without one, only its step is known.
            known = before.state_dict() if before is not None else self.scheduler.state_dict() | {"attempt": 0}
            saved = known | {"step": trainer.global_step, "last_epoch": trainer.global_step}
        if saved is not None:
            self.scheduler.load_state_dict(saved)
        else:
            self.scheduler.begin()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Set the rates again: the module's own scheduler may have set others."""
        if self.scheduler is not None:
            self.scheduler.apply_rates()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Clip to the bound, and drop the gradients of an update that is not finite. The Trainer clips after this."""
        if self.scheduler is not None and self._clip:
            self.scheduler.guard_in_trainer()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int  # noqa: ANN401
    ) -> None:  # fmt: skip
        """If this batch made an update, report it and set the rates of the next update."""
        if self.scheduler is None or self._training is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            # Lightning has divided the loss by the configured number of batches, even where fewer are left.
            shares = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            self._training.window.add(loss.detach() * shares)
        if self._due_training:
            # What is logged by the epoch is not among them. `callback_metrics` still has its value of the epoch before.
            self._report(self._due_training, trainer._logger_connector.metrics["callback"])
        if trainer.global_step == self._updates:
            return
        self._updates = trainer.global_step
        self._training.update(updates=trainer.global_step)
        if self._stop and self.scheduler.stop_advice:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the validation's metrics."""
        if self._training is not None and self._training.ended is None and not trainer.sanity_checking:
            known = trainer.callback_metrics
            self._training.evaluated({name: known[name] for name in self._metrics if name in known})
            self._due_validation.difference_update(self._metrics)
            self._report(self._due_validation, known)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what the module has logged of the epoch before, also in its own hook at the end of the epoch."""
        if self._training is not None and self._training.ended is None:
            self._report_epoch(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait until the service has stored all reports."""
        if self._training is not None:
            self._report_epoch(trainer)
            total = trainer.estimated_stepping_batches
            self._training.end(End.STOPPED if trainer.global_step < total < float("inf") else End.FINISHED)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a training that an exception ends."""
        if self._training is not None:
            self._training.fail(exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave a training that ended in another way."""
        if self._training is not None and stage == "fit":
            self._training.end(End.STOPPED)

    def state_dict(self) -> dict[str, Any]:
        """The state for Lightning's checkpoints."""
        return self.scheduler.state_dict() if self.scheduler is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until training starts."""
        self._state = dict(state_dict) or None

    def _follow(
        self, trainer: Trainer, module: LightningModule, training: Training, named: NamedMetrics
    ) -> None:  # fmt: skip
        """Look at what the module logs, until the training ends."""
        self._named = named
        self._due_training.clear()
        self._due_validation.clear()

        def with_names(call: Callable[..., None]) -> Callable[..., None]:
            def log(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
                if named.names:
                    logged = allowed_name(kwargs.get("name", args[0] if args else ""))
                    due = self._due_validation if trainer.validating else self._due_training
                    due.update(name for name in named.names if logged in (name, _logged_as(name)))
                call(*args, **kwargs)

            return log

        training.wrap(module, "log", with_names)
        if not trainer.enable_validation:
            named.miss(
                (),
                lambda metric: not is_evaluation(metric),
                "Give `fit` a validation_step and its data, or change the job's spec.",
            )

    def _report(self, due: set[str], known: Mapping[str, object]) -> None:
        """Report the metrics that are due and have a value."""
        if due and self._training is not None:
            measured = {name: value for name, value in known.items() if allowed_name(name) in due}
            self._training.evaluated(measured)
            due.difference_update(allowed_name(name) for name in measured)

    def _report_epoch(self, trainer: Trainer) -> None:
        """Report what is due of the epoch that has ended, and warn of what has not been logged in it."""
        known = trainer.callback_metrics
        self._report(self._due_training, known)
        if self._updates and self._training is not None:
            # With a `check_val_every_n_epoch`, evaluations come in later epochs.
            waits = trainer.current_epoch < (trainer.check_val_every_n_epoch or 1)
            self._named.miss(
                known,
                lambda metric: waits and trainer.enable_validation and is_evaluation(metric),
                "Call `self.log` with this name in the module, or change the job's spec.",
            )

    def _objective(self, trainer: Trainer) -> CallbackArguments:
        """The metric by which the Trainer's callbacks choose the best checkpoint, or stop."""
        for callback in (*trainer.checkpoint_callbacks, *trainer.early_stopping_callbacks):
            metric, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
            if metric:
                self._metrics = tuple(dict.fromkeys((*self._metrics, str(metric))))
                return {"objective": judged_by(str(metric), None if mode is None else mode == "max")}
        return {}

    def _schedule(self, trainer: Trainer, steps_per_epoch: int | None) -> CallbackArguments:
        """The schedule, or the controller, of the module's own scheduler."""
        configs = trainer.lr_scheduler_configs
        if not configs:
            return {}
        given, config = self._arguments, configs[0]
        name = type(config.scheduler).__name__
        if given.get("schedule") is not None or "schedule" in (given.get("spec") or {}):
            log.warning(
                "The callback's schedule holds, and not the %s that configure_optimizers returns: remove it.", name
            )
            return {}
        if len(configs) > 1:
            raise UsageError(
                "configure_optimizers returns several schedulers: return one, or give the callback `schedule=…`."
            )
        if isinstance(config.scheduler, ReduceLROnPlateau):
            metric = str(config.monitor or "val_loss")
            self._metrics = tuple(dict.fromkeys((*self._metrics, metric)))
            return {"controllers": [controller_of(config.scheduler, metric)]}
        every = max(1, config.frequency)
        if config.interval == "epoch":
            if steps_per_epoch is None:
                raise UsageError(f"The module's {name} counts epochs, whose length is not known: use interval='step'.")
            every *= steps_per_epoch
        elif every > 1:
            # Lightning counts the batches of each epoch anew.
            batches, accumulated = trainer.num_training_batches, max(1, trainer.accumulate_grad_batches)
            if batches == float("inf") or batches % every or every % accumulated:
                raise UsageError(
                    f"The module's {name} has frequency={every}, which is no regular number of updates here: an epoch has "
                    f"{batches} batches, and {accumulated} are accumulated. Use frequency=1, or give the callback `schedule=…`."
                )
            every //= accumulated
        return {"schedule": schedule_of(config.scheduler, steps=every)}


def _logged_as(metric: str) -> str:
    """The name that the module has logged a metric of Lightning's under: Lightning adds to it."""
    return metric.partition("/dataloader_idx_")[0].removesuffix("_step").removesuffix("_epoch")
