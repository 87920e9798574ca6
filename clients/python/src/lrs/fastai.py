"""fastai: a callback that sets the learning rates of `Learner.fit` from the service."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final

import torch
from fastai.callback.core import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.schedule import ParamScheduler
from fastai.callback.training import GradientAccumulation
from fastai.torch_core import find_bs

from lrs.arguments import check_arguments
from lrs.contract import End, Skipped, Training
from lrs.fastai_schedules import schedule_of
from lrs.named import NamedMetrics
from lrs.torch import CallbackArguments, LRScheduler
from lrs.torch_training import scheduler_of
from lrs.torch_view import OptimizerView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

__all__ = ["LrsCallback"]

log = logging.getLogger("lrs")

#: By these, a callback directs the loop.
_DIRECTIONS: Final = (
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)
#: The names of fastai's hyper-parameters that PyTorch has other names for.
_NAMES: Final = {"momentum": "mom", "weight_decay": "wd"}


class LrsCallback(Callback):  # type: ignore[misc]
    """Sets the rates of every update of `fit`, whose own schedule of the rate becomes the job's.

    So `fit_one_cycle`, `fit_flat_cos` and `fit_sgdr` register their curves; what they schedule besides, such as the
    momentum, they set themselves. Leave `GradientClip` out, so that the service bounds the gradient. A second `fit` with
    the callback goes on where the first has ended.
    """

    # After MixedPrecision, which divides the gradient by its scale, and before GradientClip.
    order = MixedPrecision.order + 0.5
    # Under this name it is an attribute of the Learner.
    name = "lrs_callback"
    # Not pickled by `Learner.export`.
    _stateattrs = ("scheduler", "_training", "_view", "_state")
    scheduler: LRScheduler | None
    _training: Training | None
    _view: OptimizerView | None
    _state: dict[str, Any] | None

    def __init__(
        self,
        job: str,
        *,
        clip: bool = True,
        stop: bool = False,
        state: Mapping[str, Any] | None = None,
        **arguments: Unpack[CallbackArguments],
    ) -> None:
        """Nothing is asked of the service before training begins.

        Args:
            job: See `lrs.Scheduler`.
            clip: Whether to clip the gradient to the service's bound and leave out updates that are not finite: tier 1.
            stop: Whether to end the training when the service advises it.
            state: The return value of `state_dict`, to resume from. Default: none.
            arguments: Those of `lrs.torch.LRScheduler` except `model`. By default, `total_steps` is the number of
                updates that `fit` makes, after those of earlier calls, and `schedule` is that of its `ParamScheduler`.
        """
        check_arguments(arguments, CallbackArguments, LrsCallback.__init__)
        super().__init__()
        self._init_state()
        self._state = dict(state) if state is not None else None
        self._job = job
        self._clip = clip
        self._stop = stop
        self._arguments = arguments
        self._skipped = False

    def before_fit(self) -> None:
        """Register or find the job, and begin an attempt."""
        learn = self.learn
        self.run = not hasattr(learn, "lr_finder") and not hasattr(learn, "gather_preds")
        if not self.run:
            return
        before = self.scheduler
        if self._training is not None:
            # An exception may have ended an earlier `fit` where no callback is told.
            self._training.end(End.STOPPED)
        saved, self._state = self._state, None
        if saved is None and before is not None:
            saved = before.state_dict()
        groups = _groups(learn.opt)
        self._view = None if isinstance(groups, torch.optim.Optimizer) else OptimizerView(groups)
        optimizer = groups if self._view is None else self._view
        batches = max(1, self._batches_of_update())
        done, epoch = int(saved["step"]) if saved else 0, len(learn.dls.train)
        asked: CallbackArguments = {
            "tier": int(self._clip),
            "total_steps": done + max(1, learn.n_epoch * epoch // batches),
            "steps_per_epoch": max(1, epoch // batches),
        }
        own = next((cb for cb in learn.cbs if isinstance(cb, ParamScheduler) and "lr" in cb.scheds), None)
        if own is not None and not {"schedule", "spec"} & set(self._arguments):
            peaks, schedule = schedule_of(own.scheds["lr"], learn.n_epoch * epoch / batches, done)
            asked["schedule"] = schedule
            for group, peak in zip(optimizer.param_groups, peaks * len(optimizer.param_groups), strict=False):
                group["initial_lr"] = peak
        elif own is not None:
            log.warning("The callback's schedule holds, and not that of the %s of `fit`.", type(own).__name__)
        self.scheduler = scheduler_of(optimizer, self._job, self._arguments, asked, before=before)
        self._training = Training(self.scheduler)
        self._training.end_with(learn, "_do_epoch", spare=_DIRECTIONS)
        if saved is not None:
            self.scheduler.load_state_dict(saved)
        else:
            self.scheduler.begin()

    def after_loss(self) -> None:
        """Keep the loss of a batch that is trained. Batches of another size weigh in the update by their size."""
        if self._training is not None and self.training and len(self.yb):
            self._training.window.add(self.loss.detach(), find_bs(self.yb) if self._accumulates else 1)

    def before_step(self) -> None:
        """Set the rates, which `fit` may have set otherwise, and leave out an update that is not finite."""
        scheduler, training = self.scheduler, self._training
        if scheduler is None or training is None or training.ended is not None:
            return
        scheduler.apply_rates()
        if self._clip and not scheduler.guard(training.window.so_far):
            raise CancelStepException
        if self._view is not None:
            self._view.before_update()

    def after_cancel_step(self) -> None:
        """An update is left out."""
        self._skipped = True

    def after_step(self) -> None:
        """Report the update, and set the rates of the next."""
        skipped, self._skipped = self._skipped, False
        if self.scheduler is None or self._training is None or self._training.ended is not None:
            return
        if self._view is not None and not skipped:
            self._view.after_update()
        self._training.update(
            skipped=Skipped.BY_TRAINER if skipped else None
        )  # `guard` knows better where it was asked
        if self._stop and self.scheduler.stop_advice:
            raise CancelFitException

    def after_validate(self) -> None:
        """Report the validation's loss and metrics, each under `val_` and its name, and under its own if the job names it."""
        recorder = getattr(self.learn, "recorder", None)
        if self._training is None or self._training.ended is not None or recorder is None:
            return
        values = {metric.name: metric.value for metric in recorder._valid_mets if metric.value is not None}
        measured = {f"val_{name.removeprefix('valid_')}": value for name, value in values.items()}
        core = self.scheduler.core if self.scheduler is not None else None
        self._training.evaluated(measured | NamedMetrics(core).among(values))

    def after_cancel_fit(self) -> None:
        """A callback has stopped the training."""
        if self._training is not None:
            self._training.end(End.STOPPED)

    def after_fit(self) -> None:
        """Wait until the service has stored all reports."""
        if self._training is not None:
            self._training.end(End.FINISHED)

    def state_dict(self) -> dict[str, Any]:
        """The state to save beside the model. Give it to a new callback as `state`."""
        return self.scheduler.state_dict() if self.scheduler is not None else {}

    @property
    def _accumulates(self) -> bool:
        return any(isinstance(callback, GradientAccumulation) for callback in self.learn.cbs)

    def _batches_of_update(self) -> int:
        """How many batches `GradientAccumulation` waits for."""
        samples = next((int(cb.n_acc) for cb in self.learn.cbs if isinstance(cb, GradientAccumulation)), 1)
        return -(-samples // int(self.learn.dls.train.bs or 1)) if samples > 1 else 1

    def _init_state(self) -> None:
        """Fastai calls this after it has read a callback from a file too."""
        self.scheduler = None
        self._training = None
        self._view = None
        self._state = None


class _Group(MutableMapping[str, Any]):
    """The hyper-parameters of a group of fastai's own optimizer, under PyTorch's names."""

    def __init__(self, optimizer: Any, index: int, own: dict[str, Any]) -> None:  # noqa: ANN401
        self._optimizer = optimizer
        self._index = index
        self._own = own  # what PyTorch's groups have besides

    @property
    def _hypers(self) -> dict[str, Any]:
        hypers: dict[str, Any] = self._optimizer.hypers[self._index]
        return hypers

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        if name == "params":
            return list(self._optimizer.param_lists[self._index])
        if name in self._own:
            return self._own[name]
        value = self._hypers[_NAMES.get(name, name)]
        return float(value) if name == "lr" else value

    def __setitem__(self, name: str, value: object) -> None:
        kept = _NAMES.get(name, name)
        (self._hypers if kept in self._hypers else self._own)[kept] = value

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        theirs = {theirs: ours for ours, theirs in _NAMES.items()}
        return iter(dict.fromkeys(["params", *(theirs.get(name, name) for name in self._hypers), *self._own]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _groups(optimizer: Any) -> Any:  # noqa: ANN401
    """PyTorch's optimizer where fastai wraps one, or else what gives the groups of fastai's own."""
    wrapped = getattr(optimizer, "opt", None)
    if isinstance(wrapped, torch.optim.Optimizer):
        return wrapped
    own: list[dict[str, Any]] = []

    def groups() -> list[_Group]:
        own.extend({} for _ in range(len(own), len(optimizer.param_lists)))
        return [_Group(optimizer, index, own[index]) for index in range(len(optimizer.param_lists))]

    return groups
