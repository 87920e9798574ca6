"""Lightning: a callback that sets the learning rates of a `Trainer` from the service."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback

from lrs.arguments import check_arguments
from lrs.errors import UsageError
from lrs.torch import CallbackArguments, LRScheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lightning.pytorch import LightningModule, Trainer
    from typing_extensions import Unpack

__all__ = ["LrsCallback"]


class LrsCallback(Callback):
    """Sets the rates of every update. `configure_optimizers` must return one optimizer and no scheduler.

    Leave the Trainer's `gradient_clip_val` unset, so that the service sees the gradient's norm and bounds it. The Trainer's
    checkpoints include the callback's state, so training resumes from them.
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
            metrics: The names of the logged metrics to report after a validation.
            clip: Whether to clip the gradient to the service's bound and leave out updates that are not finite: tier 1.
            keep: Whether to keep copies of the model in memory and restore them: tier 2.
            stop: Whether to end the training when the service advises it.
            arguments: Those of `lrs.torch.LRScheduler` except `model`. `total_steps` is the Trainer's by default.
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
        self._loss: torch.Tensor | None = None
        self._updates = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register or find the job, and begin an attempt."""
        if len(trainer.optimizers) != 1:
            raise UsageError(
                f"This module has {len(trainer.optimizers)} optimizers, but LrsCallback sets the rates of a single one. In "
                "configure_optimizers, make an lrs.torch.LRScheduler with a job of its own for each optimizer."
            )
        defaults: CallbackArguments = {"tier": 2 if self._keep else int(self._clip)}
        total = trainer.estimated_stepping_batches
        if total != float("inf") and "target_epochs" not in self._arguments:
            defaults["total_steps"] = int(total)
        batches = trainer.num_training_batches
        if batches != float("inf"):
            # What is left over at the end of an epoch is an update of its own.
            defaults["steps_per_epoch"] = max(1, math.ceil(batches / max(1, trainer.accumulate_grad_batches)))
        model = pl_module if self._keep else None
        self.scheduler = LRScheduler(trainer.optimizers[0], self._job, model=model, **(defaults | self._arguments))
        if self._state is not None:
            self.scheduler.load_state_dict(self._state)
        else:
            self.scheduler.begin()
        self._updates = trainer.global_step

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Clip to the bound, and drop the gradients of an update that is not finite."""
        if self.scheduler is not None and self._clip:
            self.scheduler.guard_in_trainer()
            if trainer.gradient_clip_val:
                self.scheduler.forget_norm()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int  # noqa: ANN401
    ) -> None:  # fmt: skip
        """If this batch made an update, report it and set the rates of the next update."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            # Lightning has divided the loss by the number of accumulated batches.
            self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        if self.scheduler is None or trainer.global_step == self._updates:
            return
        self._updates = trainer.global_step
        reported, self._loss = self._loss, None
        self.scheduler.step(reported)
        if self._stop and self.scheduler.stop_advice:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the validation's metrics."""
        if self.scheduler is not None and not trainer.sanity_checking:
            known = trainer.callback_metrics
            self.scheduler.log(**{name: known[name] for name in self._metrics if name in known})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait until the service has stored all reports."""
        if self.scheduler is not None:
            self.scheduler.close()

    def state_dict(self) -> dict[str, Any]:
        """The state for Lightning's checkpoints."""
        return self.scheduler.state_dict() if self.scheduler is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until training starts."""
        self._state = dict(state_dict) or None
