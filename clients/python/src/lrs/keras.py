"""Keras 3, on any backend: a callback that sets the learning rates of `fit` from the service."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import keras

from lrs.arguments import SchedulerArguments, check_arguments
from lrs.errors import UsageError
from lrs.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

__all__ = ["LrsCallback"]

log = logging.getLogger("lrs")


class LrsCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the rate of every batch and reports its loss. Reports each epoch's evaluation with the next batch.

    Keras tells a callback the mean loss of the epoch so far. The callback computes the batch's own loss from it, exactly if
    all batches have one size. With `steps_per_execution` above 1, each execution is a step of the job.
    """

    def __init__(
        self,
        job: str,
        *,
        stop: bool = False,
        state: Mapping[str, Any] | None = None,
        **arguments: Unpack[SchedulerArguments],
    ) -> None:
        """Nothing is asked of the service before training begins.

        Args:
            job: See `lrs.Scheduler`.
            stop: Whether to end the training when the service advises it.
            state: The return value of `state_dict`, to resume from.
            arguments: Those of `lrs.Scheduler`. By default the base rate is the optimizer's, and `total_steps` the number of
                batches that `fit` trains.
        """
        check_arguments(arguments, SchedulerArguments, LrsCallback.__init__)
        super().__init__()
        self.scheduler: Scheduler | None = None
        self._job = job
        self._stop = stop
        self._state = state
        self._arguments = arguments
        self._rate: float | None = None
        self._batches = 0
        self._sum = 0.0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Register or find the job, begin an attempt, and set the first rate."""
        optimizer = self.model.optimizer
        if isinstance(getattr(optimizer, "_learning_rate", None), keras.optimizers.schedules.LearningRateSchedule):
            raise UsageError(
                "The optimizer has a schedule of its own: compile the model with a number as learning_rate."
            )
        defaults: SchedulerArguments = {"groups": float(keras.ops.convert_to_numpy(optimizer.learning_rate))}
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if steps and epochs and "target_epochs" not in self._arguments:
            defaults["total_steps"] = int(steps) * int(epochs)
        if steps:
            defaults["steps_per_epoch"] = int(steps)
        self.scheduler = Scheduler(self._job, **(defaults | self._arguments))
        if self._state is not None:
            self.scheduler.load_state_dict(self._state)
        self._set(self.scheduler.learning_rate)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the epoch's mean loss anew, as Keras does."""
        self._batches, self._sum = 0, 0.0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the batch, and set the rate of the next batch."""
        if self.scheduler is None:
            return
        mean = (logs or {}).get("loss")
        loss = None
        if mean is not None:
            self._batches += 1
            total = float(mean) * self._batches
            loss, self._sum = total - self._sum, total
        self._set(self.scheduler.step(loss).rates[0])
        if self._stop and self.scheduler.stop_advice:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the evaluation."""
        if self.scheduler is not None:
            self.scheduler.log(**{name: value for name, value in (logs or {}).items() if name.startswith("val_")})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wait until the service has stored all reports."""
        if self.scheduler is not None:
            self.scheduler.close()

    def state_dict(self) -> dict[str, Any]:
        """The state to save beside the model. Give it to a new callback as `state`."""
        state = self.scheduler.state_dict() if self.scheduler is not None else {}
        return dict(json.loads(json.dumps(state)))

    def _set(self, rate: float) -> None:
        if rate == self._rate:
            return
        self._rate = rate
        # On JAX, a running `fit` keeps its state outside the model. This copies it into the model, and Keras reads it
        # again.
        synchronise = getattr(self.model, "jax_state_sync", None)
        if callable(synchronise):
            synchronise()
        self.model.optimizer.learning_rate = rate
