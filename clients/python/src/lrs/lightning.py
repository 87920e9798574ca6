"""Lightning: a callback that gives a `Trainer` its learning rates from the service."""

from __future__ import annotations

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
    """Sets the rate of every update; `configure_optimizers` returns one optimizer and no scheduler.

    Leave `gradient_clip_val` of the Trainer unset, so that the service sees the gradient's norm and bounds it. Checkpoints
    of the Trainer carry what it takes to resume.
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
        """Remember what to do when training begins.

        Args:
            job: See `lrs.Scheduler`.
            metrics: Which logged metrics to report after a validation.
            clip: Whether to clip to the bound that is told, and leave out updates that are not finite: tier 1.
            keep: Whether to keep and restore copies of the model in memory: tier 2.
            stop: Whether to end the training when the service advises to.
            arguments: Those of `lrs.torch.LRScheduler` but the model. `total_steps` is the Trainer's, unless given.
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
                f"This module has {len(trainer.optimizers)} optimizers, and LrsCallback sets the rates of one: make one "
                "lrs.torch.LRScheduler for each, with a job of its own, in configure_optimizers."
            )
        defaults: CallbackArguments = {"tier": 2 if self._keep else int(self._clip)}
        total = trainer.estimated_stepping_batches
        if total != float("inf"):
            defaults["total_steps"] = int(total)
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
        """Clip to the bound, and take the gradients away from an update that is not finite."""
        if self.scheduler is not None and self._clip:
            self.scheduler.guard_in_trainer()
            if trainer.gradient_clip_val:
                self.scheduler.forget_norm()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Report the update if this batch made one, and set the rates of the next."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            # Lightning has divided it by the number of batches that are accumulated.
            self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        if self.scheduler is None or trainer.global_step == self._updates:
            return
        self._updates = trainer.global_step
        reported, self._loss = self._loss, None
        self.scheduler.step(reported)
        if self._stop and self.scheduler.stop_advice:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what was evaluated."""
        if self.scheduler is not None and not trainer.sanity_checking:
            known = trainer.callback_metrics
            self.scheduler.log(**{name: known[name] for name in self._metrics if name in known})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait until everything is durable."""
        if self.scheduler is not None:
            self.scheduler.close()

    def state_dict(self) -> dict[str, Any]:
        """What goes into Lightning's checkpoints."""
        return self.scheduler.state_dict() if self.scheduler is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What comes out of them, before training starts."""
        self._state = dict(state_dict) or None
