"""transformers: a callback that sets the learning rates of a `Trainer` from the service."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from lrs.arguments import check_arguments
from lrs.torch import CallbackArguments, LRScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import TrainerControl, TrainerState, TrainingArguments
    from typing_extensions import Unpack

__all__ = ["LrsCallback"]

_STATE_FILE = "lrs.json"


class LrsCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Sets the rates of every update over those of the Trainer's own scheduler, which should stay `constant`.

    Set `max_grad_norm=0` in the training arguments to leave clipping to the service; otherwise the Trainer clips first, and
    the norm is not reported. The Trainer's checkpoints include the callback's state, so training resumes from them.
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
            arguments: Those of `lrs.torch.LRScheduler` except `model`. `total_steps` is the Trainer's by default.
        """
        check_arguments(arguments, CallbackArguments, LrsCallback.__init__)
        self.scheduler: LRScheduler | None = None
        self._job = job
        self._clip = clip or keep
        self._keep = keep
        self._stop = stop
        self._arguments = arguments
        self._loss: torch.Tensor | None = None
        self._hook: Any = None
        self._rate: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Register or find the job, and begin an attempt at the Trainer's step."""
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        defaults: CallbackArguments = {
            "total_steps": state.max_steps,
            "tier": 2 if self._keep else int(self._clip),
        }
        if "target_epochs" in self._arguments:
            del defaults["total_steps"]
        batches = _length(kwargs.get("train_dataloader"))
        if batches:
            # What is left over at the end of an epoch is an update of its own.
            defaults["steps_per_epoch"] = math.ceil(batches / max(1, args.gradient_accumulation_steps))
        kept = model if self._keep else None
        self.scheduler = LRScheduler(optimizer, self._job, model=kept, **(defaults | self._arguments))
        accumulation = max(1, args.gradient_accumulation_steps)
        self._hook = model.register_forward_hook(self._loss_hook(accumulation), with_kwargs=True)
        if state.global_step > 0:
            self.scheduler.load_state_dict(self._saved_state(args, state, self.scheduler))
        else:
            self.scheduler.begin()
        self._tell(kwargs)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Clip to the bound, and drop the gradients of an update that is not finite."""
        if self.scheduler is None:
            return
        # Kept now, because the Trainer's own scheduler sets another rate before the step is reported.
        rate = self.scheduler.optimizer.param_groups[0]["lr"]
        self._rate = rate if isinstance(rate, float) else None  # a tensor is not read: it may be on a GPU
        if self._clip:
            self.scheduler.guard_in_trainer(self._loss)
            if args.max_grad_norm:
                self.scheduler.forget_norm()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Report the update, and set the rates of the next. The Trainer's own scheduler runs before this."""
        if self.scheduler is None:
            return
        loss, self._loss = self._loss, None
        self.scheduler.step(loss, learning_rate=self._rate)
        self._tell(kwargs)
        if self._stop and self.scheduler.stop_advice:
            control.should_training_stop = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Report an evaluation, with `eval_loss` under the name `val_loss`, which the service's controllers read."""
        metrics: Mapping[str, object] = kwargs.get("metrics") or {}
        if self.scheduler is not None:
            numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
            kept = {
                name: value
                for name, value in numbers.items()
                if not name.endswith(("_runtime", "_per_second", "epoch"))
            }
            if "eval_loss" in kept:
                kept["val_loss"] = kept.pop("eval_loss")
            self.scheduler.log(**kept)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Save the scheduler's state beside the Trainer's own."""
        if self.scheduler is None:
            return
        saved = self.scheduler.state_dict()
        directory = _checkpoint(args, state)
        if state.is_world_process_zero and directory.is_dir():
            (directory / _STATE_FILE).write_text(json.dumps(saved))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        """Wait until the service has stored all reports."""
        if self._hook is not None:
            self._hook.remove()
        if self.scheduler is not None:
            self.scheduler.close()

    def _loss_hook(self, accumulation: int) -> Any:  # noqa: ANN401 (a hook of torch)
        """A hook that adds up the losses of an update's micro-batches."""

        def hook(module: torch.nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:  # noqa: ANN401
            loss = output.get("loss") if hasattr(output, "get") else getattr(output, "loss", None)
            if not module.training or not isinstance(loss, torch.Tensor):
                return
            # A model that knows the number of items in the whole batch has divided its loss by it.
            part = loss.detach() if kwargs.get("num_items_in_batch") is not None else loss.detach() / accumulation
            self._loss = part if self._loss is None else self._loss + part

        return hook

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


def _length(loader: Any) -> int | None:  # noqa: ANN401
    """How many batches a loader has; `None` if it does not know."""
    try:
        return len(loader)
    except TypeError:
        return None


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
