"""transformers: a callback that sets the learning rates of a `Trainer` from the service."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from transformers import Trainer, TrainerCallback

from lrs.arguments import check_arguments
from lrs.contract import End, Skipped, Training
from lrs.named import NamedMetrics, is_evaluation
from lrs.torch import CallbackArguments, LRScheduler
from lrs.torch_schedules import schedule_of
from lrs.torch_training import scheduler_of
from lrs.typed import judged_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from transformers import TrainerControl, TrainerState, TrainingArguments
    from typing_extensions import Unpack

__all__ = ["LrsCallback"]

log = logging.getLogger("lrs")

_STATE_FILE = "lrs.json"
#: The schedulers that have no end, and refuse to be told one.
_ENDLESS = ("constant_with_warmup", "inverse_sqrt")
_FOLLOW_A_METRIC = ("reduce_lr_on_plateau", "greedy")
#: Names that an evaluation's metrics end with, and that no model has.
_NOT_MEASURED = ("_runtime", "_per_second", "epoch")


class LrsCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Sets the rates of every update in place of the Trainer's own scheduler, whose schedule becomes the job's.

    The loss is the Trainer's own, whatever computes it. Set `max_grad_norm=0` in the training arguments to leave clipping to
    the service; otherwise the Trainer clips first. The Trainer's checkpoints include the callback's state, so training
    resumes from them.
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
            arguments: Those of `lrs.torch.LRScheduler` except `model`. By default, `total_steps` is the Trainer's, and
                `schedule` is its `lr_scheduler_type` with its warmup.
        """
        check_arguments(arguments, CallbackArguments, LrsCallback.__init__)
        self.scheduler: LRScheduler | None = None
        self._job = job
        self._clip = clip or keep
        self._keep = keep
        self._stop = stop
        self._arguments = arguments
        self._training: Training | None = None
        self._named: NamedMetrics | None = None
        self._was_skipped: Callable[[], bool] = bool
        self._norm: object = None
        self._rate: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Register or find the job, and begin an attempt at the Trainer's step."""
        before, trainer = self.scheduler, _calling_trainer(self)
        if self._training is not None:
            # An earlier try of the same training: `auto_find_batch_size` begins again with smaller batches.
            self._training.end(End.FAILED, "the Trainer begins again")
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        asked: CallbackArguments = {
            "total_steps": state.max_steps,
            "tier": 2 if self._keep else int(self._clip),
        }
        batches = _length(kwargs.get("train_dataloader"))
        if batches:
            # What is left over at the end of an epoch is an update of its own.
            asked["steps_per_epoch"] = math.ceil(batches / max(1, args.gradient_accumulation_steps))
        schedule, is_default = self._schedule(args, state, trainer, kwargs.get("lr_scheduler"))
        asked |= schedule
        asked |= _objective(args)
        self.scheduler = scheduler_of(
            optimizer,
            self._job,
            self._arguments,
            asked,
            model=model if self._keep else None,
            before=before,
            # Its default schedule is nothing that anybody asked for.
            implied=("schedule", "controllers") if is_default else (),
        )
        self._training = Training(self.scheduler)
        self._named = NamedMetrics(self.scheduler.core)
        self._miss(args, trainer, self._named)
        if trainer is not None:
            self._follow(trainer, self._training)
        else:
            log.warning("LrsCallback is not called by a Trainer, so it knows no loss.")
        if state.global_step > 0:
            self.scheduler.load_state_dict(self._saved_state(args, state, self.scheduler))
        else:
            self.scheduler.begin()
        self._tell(kwargs)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Clip to the bound, and drop the gradients of an update that is not finite."""
        if self.scheduler is None or self._training is None or self._training.ended is not None:
            return
        # The Trainer's own scheduler has set other rates since the last step.
        self.scheduler.apply_rates()
        # Kept now, because it sets another rate before the step is reported.
        rate = self.scheduler.optimizer.param_groups[0]["lr"]
        self._rate = rate if isinstance(rate, float) else None  # a tensor is not read: it may be on a GPU
        if self._clip:
            self.scheduler.guard_in_trainer(self._training.window.so_far)
            if args.max_grad_norm:
                self.scheduler.forget_norm()  # the Trainer has clipped; it measured the norm before

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Report the update, and set the rates of the next. The Trainer's own scheduler runs before this."""
        if self.scheduler is None or self._training is None or self._training.ended is not None:
            return
        norm, self._norm = self._norm, None
        left_out = Skipped.BY_TRAINER if self._was_skipped() else None
        self._training.update(updates=state.global_step, skipped=left_out, grad_norm=norm, learning_rate=self._rate)
        self._tell(kwargs)
        if self._stop and self.scheduler.stop_advice:
            control.should_training_stop = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Report an evaluation, with `eval_loss` under the name `val_loss`, which the service's controllers read.

        What the job's spec names is reported under that name too: `eval_loss` itself, `val_accuracy` or `accuracy` for
        `eval_accuracy`.
        """
        metrics: Mapping[str, object] = kwargs.get("metrics") or {}
        if self._training is None or self._training.ended is not None or self._named is None:
            return
        kept = {
            name: value
            for name, value in metrics.items()
            if isinstance(value, (int, float)) and not name.endswith(_NOT_MEASURED)
        }
        self._training.evaluated(self._named.evaluation(kept))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Report what the spec names among the metrics that the Trainer logs of its training."""
        logs: Mapping[str, object] = kwargs.get("logs") or {}
        if self._training is None or self._training.ended is not None or self._named is None:
            return
        # An evaluation logs its metrics too, with its run time, and `on_evaluate` reports them.
        if not any(name.endswith("_runtime") for name in logs):
            self._training.evaluated(self._named.among(logs))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Save the scheduler's state beside the Trainer's own."""
        if self.scheduler is None:
            return
        directory = _checkpoint(args, state)
        if state.is_world_process_zero and directory.is_dir():
            (directory / _STATE_FILE).write_text(json.dumps(self.scheduler.state_dict()))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Wait until the service has stored all reports."""
        if self._training is not None:
            self._training.end(End.FINISHED if state.global_step >= state.max_steps else End.STOPPED)

    def _follow(self, trainer: Trainer, training: Training) -> None:
        """Look at the numbers that the Trainer computes itself, until the training ends, however it ends."""

        def with_loss(call: Callable[..., Any]) -> Callable[..., Any]:
            def training_step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                # The Trainer has divided the loss by what it accumulates: by batches or by tokens.
                loss = call(*args, **kwargs)
                training.window.add_share(loss)
                return loss

            return training_step

        def with_norm(call: Callable[..., Any]) -> Callable[..., Any]:
            def clip_grad_norm_(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                self._norm = call(*args, **kwargs)
                return self._norm

            return clip_grad_norm_

        accelerator = trainer.accelerator
        self._was_skipped = lambda: bool(accelerator.optimizer_step_was_skipped)
        training.wrap(trainer, "training_step", with_loss)
        training.wrap(accelerator, "clip_grad_norm_", with_norm)
        training.end_with(trainer, "_run_epoch" if hasattr(trainer, "_run_epoch") else "training_step")

    def _miss(self, args: TrainingArguments, trainer: Trainer | None, named: NamedMetrics) -> None:
        """Warn of evaluations that the spec names and that this Trainer does not make."""
        if trainer is None:
            return
        evaluates = str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"
        # A class of its own may measure more than `compute_metrics`.
        is_plain = type(trainer) is Trainer and trainer.compute_metrics is None

        def can_come(metric: str) -> bool:
            if not is_evaluation(metric):
                return True  # the Trainer's `log` may be called with it
            return evaluates and (not is_plain or metric.endswith("loss"))

        how = "compute_metrics, which makes the metrics of an evaluation" if evaluates else "eval_strategy='epoch'"
        named.miss((), can_come, f"Give the Trainer {how}, or change the job's spec.")

    def _schedule(
        self, args: TrainingArguments, state: TrainerState, trainer: Trainer | None, theirs: object
    ) -> tuple[CallbackArguments, bool]:
        """The schedule, or the controller, that the Trainer was configured with; whether that is its default."""
        given = self._arguments
        kind = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
        warmup = args.get_warmup_steps(state.max_steps)
        options: dict[str, Any] = dict(cast("dict[str, Any]", args.lr_scheduler_kwargs or {}))
        is_own = trainer is not None and not getattr(trainer, "_created_lr_scheduler", True)
        is_default = kind == "linear" and not warmup and not options and not is_own
        steered = bool(given.get("controller") or given.get("controllers"))
        if given.get("schedule") is not None or "schedule" in (given.get("spec") or {}):
            if not is_default and kind != "constant":
                log.warning(
                    "The callback's schedule holds, and not the Trainer's lr_scheduler_type=%r with %d warmup steps. Set "
                    "lr_scheduler_type='constant' to say so.",
                    kind,
                    warmup,
                )
            return {}, False
        if is_own and theirs is not None:
            return {"schedule": schedule_of(getattr(theirs, "scheduler", theirs))}, False
        if is_default and steered:
            log.info(
                "The Trainer's default lr_scheduler_type='linear' is not followed, as a controller is given: to have both, "
                'give the callback schedule={"linear": {}}.'
            )
            return {}, False
        if kind == "constant":
            return {}, False
        if kind in _FOLLOW_A_METRIC:
            metric = str(args.metric_for_best_model or "loss")
            metric = "val_loss" if metric in ("loss", "eval_loss") else metric
            if not metric.startswith(("val_", "eval_")):
                metric = f"eval_{metric}"
            follows = {"library": "transformers", "scheduler": kind, "params": options, "metric": metric}
            return ({}, False) if steered else ({"controllers": [follows]}, False)
        params = {"num_warmup_steps": warmup, **options}
        if kind not in _ENDLESS:
            params["num_training_steps"] = state.max_steps
        schedule = {"library": "transformers", "scheduler": kind, "params": params}
        return {"schedule": schedule}, is_default

    def _tell(self, kwargs: Mapping[str, Any]) -> None:
        """Show the Trainer the rates in force, so that it logs them."""
        theirs = kwargs.get("lr_scheduler")
        theirs = getattr(theirs, "scheduler", theirs)  # accelerate's wrapper
        if theirs is not None and self.scheduler is not None:
            theirs._last_lr = self.scheduler.get_last_lr()

    def _saved_state(self, args: TrainingArguments, state: TrainerState, scheduler: LRScheduler) -> dict[str, Any]:
        places = [_checkpoint(args, state)]
        if isinstance(args.resume_from_checkpoint, str):
            places.insert(0, Path(args.resume_from_checkpoint))
        for place in places:
            if (place / _STATE_FILE).is_file():
                saved: dict[str, Any] = json.loads((place / _STATE_FILE).read_text())
                return saved
        # Without a saved state only the Trainer's step is known: resume the newest attempt there.
        return scheduler.state_dict() | {"step": state.global_step, "attempt": 0, "last_epoch": state.global_step}


def _calling_trainer(callback: TrainerCallback) -> Trainer | None:
    """The Trainer that calls a callback. It is no argument of the calls, so it is looked for among the callers."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer) and callback in caller.callback_handler.callbacks:
            return caller
        frame = frame.f_back
    return None


def _length(loader: Any) -> int | None:  # noqa: ANN401
    """How many batches a loader has; `None` if it does not know."""
    try:
        return len(loader)
    except TypeError:
        return None


def _objective(args: TrainingArguments) -> CallbackArguments:
    """The metric by which the Trainer chooses its best checkpoint, under the name that the callback reports."""
    metric = args.metric_for_best_model
    if not metric:
        return {}
    name = metric if metric.startswith("eval_") else f"eval_{metric}"
    rises = args.greater_is_better
    return {"objective": judged_by("val_loss" if name == "eval_loss" else name, rises)}


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
