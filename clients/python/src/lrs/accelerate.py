"""accelerate: a scheduler that follows accelerate's gradient accumulation, processes and checkpoints."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lrs.contract import Skipped, Window
from lrs.habits import here
from lrs.torch import LRScheduler as TorchLRScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from accelerate import Accelerator
    from typing_extensions import Unpack

    from lrs.torch import TorchArguments

__all__ = ["LRScheduler"]

log = logging.getLogger("lrs")


class LRScheduler(TorchLRScheduler):
    """Call `step(loss)` after each batch: the scheduler counts the batches that made an update.

    Make the scheduler with the prepared optimizer, and do not prepare the scheduler: accelerate would step it once for
    each process. The scheduler registers itself for `save_state` and `load_state`.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        optimizer: torch.optim.Optimizer,
        job: str,
        **arguments: Unpack[TorchArguments],
    ) -> None:
        """Register or find the job; `arguments` are those of `lrs.torch.LRScheduler`."""
        super().__init__(optimizer, job, **arguments)
        self._accelerator = accelerator
        self._prepared = optimizer
        self._window = Window()
        self._is_prepared = False
        accelerator.register_for_checkpointing(self)

    def guard(self, loss: torch.Tensor | float | None = None) -> bool:
        """See `lrs.torch.LRScheduler.guard`. Always true for a batch without an update."""
        if not self._accelerator.sync_gradients:
            return True
        self._accelerator.unscale_gradients(self._prepared)
        return super().guard(loss)

    def step(
        self,
        loss: object = None,
        grad_norm: object = None,
        metrics: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        learning_rate: float | None = None,
    ) -> None:
        """If this batch ended an update, report it with the mean loss of its batches, and set the next rates.

        An update that accelerate's scaler has skipped is reported as skipped.
        """
        self._window.add(loss)
        if not self._is_prepared and any(
            getattr(known, "scheduler", None) is self for known in self._accelerator._schedulers
        ):
            self._is_prepared = True
            log.warning(
                "This scheduler was given to accelerator.prepare(), so accelerate steps it %d times for an update and leaves "
                "batches out. Do not prepare it%s.",
                self._accelerator.num_processes,
                here(),
            )
        if self._accelerator.sync_gradients:
            if self._accelerator.optimizer_step_was_skipped and self._skipped is None:
                self._skipped = Skipped.BY_TRAINER
            super().step(self._window.take(), grad_norm, metrics, step=step, learning_rate=learning_rate)
