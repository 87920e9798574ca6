"""accelerate: a scheduler that follows accelerate's gradient accumulation, processes and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrs.torch import LRScheduler as TorchLRScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from accelerate import Accelerator
    from typing_extensions import Unpack

    from lrs.torch import TorchArguments

__all__ = ["LRScheduler"]


class LRScheduler(TorchLRScheduler):
    """Call `step(loss)` after each batch: the scheduler counts the batches that made an update.

    Make the scheduler with the prepared optimizer, and do not prepare the scheduler: accelerate would step it once for each
    process. The scheduler registers itself for `save_state` and `load_state`.
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
        self._loss: torch.Tensor | None = None
        self._batches = 0
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
        learning_rate: float | None = None,
    ) -> None:
        """If this batch made an update, report it with the mean loss of its batches, and set the next rates."""
        if loss is not None:
            part: Any = loss.detach() if hasattr(loss, "detach") else loss
            self._loss = part if self._loss is None else self._loss + part
            self._batches += 1
        if not self._accelerator.sync_gradients or self._accelerator.optimizer_step_was_skipped:
            return
        mean = self._loss / self._batches if self._loss is not None else None
        self._loss, self._batches = None, 0
        super().step(mean, grad_norm, metrics, learning_rate=learning_rate)
