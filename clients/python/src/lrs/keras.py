"""Keras 3, on any backend: a callback that sets the learning rates of `fit` from the service."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any, cast

import keras

from lrs.arguments import SchedulerArguments, check_arguments
from lrs.contract import End, Training
from lrs.errors import UsageError
from lrs.implied import filled_in, implying, names_given
from lrs.named import NamedMetrics
from lrs.past_end import warn_of_a_short_job
from lrs.relength import relength
from lrs.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

__all__ = ["LrsCallback"]

log = logging.getLogger("lrs")


class LrsCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the rate of every update and reports its loss. Reports each epoch's evaluation with the next update.

    Keras tells a callback the mean loss of the epoch so far; the callback computes the batch's own loss from it. After
    a loss that is not finite, Keras tells no other until the epoch ends. With `steps_per_execution` above 1, each
    execution is a step of the job. With the optimizer's `gradient_accumulation_steps`, so many batches are a step.
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
            arguments: Those of `lrs.Scheduler`. By default the base rate is the optimizer's, and `total_steps` the
                number of updates that `fit` makes, after those of earlier calls of `fit` with this callback.
        """
        check_arguments(arguments, SchedulerArguments, LrsCallback.__init__)
        super().__init__()
        self.scheduler: Scheduler | None = None
        self._job = job
        self._stop = stop
        self._state = state
        self._arguments = arguments
        self._training: Training | None = None
        self._base_lr: float | None = None
        self._rate: float | None = None
        self._named: NamedMetrics | None = None
        self._logged: set[str] = set()
        self._batches = self._epochs = 0
        self._seen = (0.0, 0.0)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Look at the optimizer. The attempt begins with the first epoch, whose number says how much is left to train."""
        if self._training is not None:
            # An exception may have ended an earlier `fit`: Keras does not tell its callbacks.
            self._training.end(End.STOPPED)
        optimizer = self.model.optimizer
        if isinstance(getattr(optimizer, "_learning_rate", None), keras.optimizers.schedules.LearningRateSchedule):
            raise UsageError(
                "The optimizer has a schedule of its own: compile the model with a number as learning_rate."
            )
        if self.scheduler is not None:
            self._state = self.scheduler.state_dict()
        self._training, self._rate = None, None
        if self._base_lr is None:
            # The optimizer's number is a float32: 0.1 in its shortest form, which is what was written.
            self._base_lr = float(str(keras.ops.convert_to_numpy(optimizer.learning_rate)))

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Register or find the job and begin an attempt, in the first epoch. Keras starts its mean loss anew."""
        self._seen = (0.0, 0.0)
        if self._training is None:
            self._begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the update, if this batch made one, and set the rate of the next."""
        if self.scheduler is None or self._training is None:
            return
        self._training.window.add(self._loss((logs or {}).get("loss"), batch))
        self._batches += 1
        if self._batches % self._accumulation:
            return
        self._training.update()
        self._set(self.scheduler.learning_rate)
        if self._stop and self.scheduler.stop_advice:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report the evaluation, and what the job's spec names among the metrics of the training."""
        if self._training is None or self._named is None:
            return
        logs = logs or {}
        measured = {name: value for name, value in logs.items() if name.startswith("val_")}
        self._training.evaluated(measured | self._named.among(logs))
        self._logged.update(logs)
        self._epochs += 1
        # With a `validation_freq`, evaluations come in later epochs.
        waits = self._epochs < 2 and not measured
        self._named.miss(
            self._logged,
            lambda metric: waits and metric.startswith("val_"),
            "Compile the model with this metric, give `fit` validation_data, or change the job's spec.",
        )

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wait until the service has stored all reports."""
        if self._training is not None:
            self._training.end(End.STOPPED if self.model.stop_training else End.FINISHED)

    def state_dict(self) -> dict[str, Any]:
        """The state to save beside the model. Give it to a new callback as `state`."""
        state = self.scheduler.state_dict() if self.scheduler is not None else {}
        return dict(json.loads(json.dumps(state)))

    @property
    def _accumulation(self) -> int:
        return int(getattr(self.model.optimizer, "gradient_accumulation_steps", None) or 1)

    def _begin(self, epoch: int) -> None:
        before = self.scheduler
        asked: SchedulerArguments = {"groups": cast("float", self._base_lr)}
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        total: int | None = None
        if steps:
            done = int(self._state["step"]) if self._state else 0
            if epochs:
                total = done + int(steps) * (int(epochs) - epoch) // self._accumulation
                asked["total_steps"] = total
            asked["steps_per_epoch"] = max(1, int(steps) // self._accumulation)
        asked = filled_in(asked, self._arguments)
        relength(before, asked, self._arguments)
        with implying({"total_steps", "steps_per_epoch"} - names_given(self._arguments)):
            self.scheduler = Scheduler(self._job, **asked)
        warn_of_a_short_job(self.scheduler.job, self.scheduler.total_steps, total)
        self.scheduler.complete_later()
        if self._state is not None:
            self.scheduler.load_state_dict(self._state)
        self._state = None
        self._training = Training(self.scheduler)
        self._named = NamedMetrics(self.scheduler)
        self._batches = self._epochs = 0
        self._logged.clear()
        self._set(self.scheduler.learning_rate)

    def _loss(self, mean: object, batch: int) -> float | None:
        """The loss of the batches since the last call, from the mean of the epoch so far; `None` if it is not known."""
        if mean is None:
            return None
        total, count = self._tracked() or (float(cast("float", mean)) * (batch + 1), float(batch + 1))
        (before, seen), self._seen = self._seen, (total, count)
        if not math.isfinite(before) or count <= seen:
            return None
        return (total - before) / (count - seen)

    def _tracked(self) -> tuple[float, float] | None:
        """The sum and the weight of the epoch's mean loss, which may be a sum over samples, as Keras keeps them."""
        tracker = getattr(self.model, "_loss_tracker", None)
        if tracker is None or not hasattr(tracker, "total") or not hasattr(tracker, "count"):
            return None
        # On JAX, a running `fit` keeps its state outside the model.
        state = None if getattr(self.model, "_jax_state_synced", True) else getattr(self.model, "_jax_state", None)
        outside = (state or {}).get("metrics_variables") or ()
        known = {id(variable): value for variable, value in zip(self.model.metrics_variables, outside, strict=False)}
        total, count = (known.get(id(variable), variable) for variable in (tracker.total, tracker.count))
        return float(keras.ops.convert_to_numpy(total)), float(keras.ops.convert_to_numpy(count))

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
