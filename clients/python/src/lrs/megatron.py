"""Megatron-LM: a scheduler with the interface of Megatron's `OptimizerParamScheduler`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lrs.arguments import check_arguments
from lrs.contract import Skipped
from lrs.errors import UsageError
from lrs.torch import CallbackArguments
from lrs.torch_follower import Follower
from lrs.torch_training import scheduler_of
from lrs.torch_view import OptimizerView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Unpack

__all__ = ["OptimizerParamScheduler"]

#: The arguments of Megatron's scheduler that make its curve. It keeps them under the same names.
_PARAMETERS = (
    "init_lr",
    "max_lr",
    "min_lr",
    "lr_warmup_steps",
    "lr_decay_steps",
    "lr_decay_style",
    "start_wd",
    "end_wd",
    "wd_incr_steps",
    "wd_incr_style",
)
_DECAY_PARAMETERS = ("wsd_decay_steps", "lr_wsd_decay_style")


class OptimizerParamScheduler(Follower):
    """Sets the rates of a Megatron optimizer in place of Megatron's scheduler, whose curve becomes the job's.

    Give it to Megatron's loop as `opt_param_scheduler`, on every rank, and call `report(loss_dict)` after each
    `train_step`. Megatron clips to the service's bound, and its own reasons to leave an update out hold. The weight decay
    is scheduled as by Megatron. An update is reported, and the rates of the next are set, right before the next
    `optimizer.step()`, because Megatron tells the loss after its scheduler is called.
    """

    def __init__(
        self,
        optimizer: Any,  # noqa: ANN401
        job: str,
        *,
        replaces: Any = None,  # noqa: ANN401
        samples_per_step: int = 1,
        **arguments: Unpack[CallbackArguments],
    ) -> None:
        """Register or find the job.

        Args:
            optimizer: A `MegatronOptimizer`: it has `param_groups`, and `step()` returns whether the update was applied,
                the norm of the gradient before clipping, and a count of zeros.
            job: See `lrs.Scheduler`.
            replaces: Megatron's own scheduler of this optimizer. Default: none; then the groups' rates are the base rates.
            samples_per_step: The increment of each step, which is Megatron's global batch size: its scheduler counts
                samples. Default: 1.
            arguments: Those of `lrs.torch.LRScheduler` except `model`. By default, `tier` is 1, and `schedule` is that of
                `replaces`.
        """
        check_arguments(arguments, CallbackArguments, OptimizerParamScheduler.__init__)
        self.optimizer = optimizer
        self.num_steps = 0
        """How many samples were trained, as Megatron counts."""
        self._own = replaces
        asked: CallbackArguments = {"tier": 1}
        if replaces is not None:
            peaks = [float(group.get("max_lr", replaces.max_lr)) for group in optimizer.param_groups]
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["initial_lr"] = peak
            if not {"schedule", "spec"} & set(arguments):
                asked["schedule"] = _schedule(replaces, optimizer.param_groups, samples_per_step)
        self._view = OptimizerView(lambda: optimizer.param_groups)
        super().__init__(scheduler_of(self._view, job, arguments, asked, may_go_on=False))
        self._configs = list({id(config): config for config in _configs(optimizer)}.values())
        self._clips_at = [float(getattr(config, "clip_grad", 0.0) or 0.0) for config in self._configs]
        self._pending: tuple[bool, object] | None = None  # whether the last update was applied, and its norm
        self._evaluations: list[Mapping[str, object]] = []
        self._pipeline = _is_pipeline()
        self._training.hook(self._restore_bounds)
        self._training.wrap(optimizer, "step", self._around_step)

    def step(self, increment: int) -> None:
        """Count the samples of an applied update. Megatron's loop calls this."""
        self.num_steps += int(increment)
        self._decay_weights()

    def report(self, loss: object) -> None:
        """Tell the loss of the last update: a number, a tensor, or Megatron's dictionary of losses, whose first is taken.

        On ranks of a pipeline that know no loss, the dictionary is empty. There, all ranks must call this.
        """
        if isinstance(loss, dict):
            loss = next(iter(loss.values()), None)
        known: Any = loss
        self._training.window.add(self.scheduler.mean_over_ranks(known) if self._pipeline else known)

    def log(self, *given: Mapping[str, object], **metrics: object) -> None:
        """Report metrics, such as an evaluation's `val_loss=0.3`, with the next update; see `lrs.Scheduler.log`."""
        self._evaluations.extend((*given, metrics))

    def get_lr(self, param_group: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a number or a tensor)
        """The rate in force in a parameter group."""
        return param_group["lr"]

    def get_wd(self, param_group: Mapping[str, Any] | None = None) -> float:
        """The weight decay by Megatron's schedule, without the group's `wd_mult`; without one, the group's own."""
        if self._own is not None:
            self._own.num_steps = self.num_steps
            return float(self._own.get_wd(param_group))
        return float((param_group or {}).get("weight_decay", 0.0))

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, with Megatron's `num_steps`. No rank waits for another."""
        state = self.scheduler.state_dict()
        if self._pending is not None:
            # Made, and not reported yet.
            state |= {"step": state["step"] + 1, "last_epoch": state["last_epoch"] + 1}
        return state | {"num_steps": self.num_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint. Call this before the first update; see `lrs.Scheduler.load_state_dict`."""
        self.scheduler.load_state_dict(state_dict)
        self.num_steps = int(state_dict.get("num_steps", 0))
        self._decay_weights()

    def close(self) -> None:
        """Report the last update, and wait until the service has stored all reports, up to `close_timeout`."""
        self._report_last()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._report_last()
        super().__exit__(kind, problem, trace)

    def _report_last(self) -> None:
        """Report the last update where the loop is left, perhaps by this rank alone."""
        if self._training.ended is None and self.scheduler.leave_ranks():
            self._flush()

    def _around_step(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self._flush()
            self.scheduler.begin()
            self.scheduler.apply_rates()
            self._decay_weights()
            for config, own in zip(self._configs, self._clips_at, strict=True):
                config.clip_grad = min([bound for bound in (own, self.scheduler.clip_norm) if bound], default=0.0)
            self._view.before_update()
            applied, norm, *rest = call(*args, **kwargs)
            if applied:
                self._view.after_update()
            self._pending = (bool(applied), norm)
            return (applied, norm, *rest)

        return step

    def _flush(self) -> None:
        """Report the last update, if there is one, and set the rates of the next."""
        pending, self._pending = self._pending, None
        if pending is not None:
            applied, norm = pending
            self._training.update(skipped=None if applied else Skipped.BY_TRAINER, grad_norm=norm)
        while self._evaluations:
            self._training.evaluated(self._evaluations.pop(0))

    def _restore_bounds(self) -> None:
        for config, own in zip(self._configs, self._clips_at, strict=True):
            config.clip_grad = own

    def _decay_weights(self) -> None:
        if self._own is not None:
            for group in self.optimizer.param_groups:
                group["weight_decay"] = self.get_wd(group) * group.get("wd_mult", 1.0)


def _schedule(own: Any, groups: list[dict[str, Any]], samples: int) -> dict[str, Any]:  # noqa: ANN401
    """The curve of Megatron's scheduler, over steps of so many samples each."""
    params = {name: getattr(own, name) for name in _PARAMETERS}
    if own.lr_decay_style == "WSD":
        params |= {name: getattr(own, name) for name in _DECAY_PARAMETERS}
    curve: dict[str, Any] = {"library": "megatron", "scheduler": "OptimizerParamScheduler", "params": params}
    peaks = [group.get("max_lr", own.max_lr) for group in groups]
    for group, peak in zip(groups, peaks, strict=True):
        floor = group.get("min_lr", own.min_lr)
        has_start = own.lr_warmup_steps > 0 and own.init_lr > 0
        if (peak, floor) != (own.max_lr, own.min_lr) and (has_start or floor * own.max_lr != own.min_lr * peak):
            raise UsageError(
                f"A parameter group has max_lr={peak:g} and min_lr={floor:g}, but Megatron's scheduler has max_lr="
                f"{own.max_lr:g}, min_lr={own.min_lr:g} and init_lr={own.init_lr:g}: the curves have different forms. Give "
                "`schedule=…`."
            )
    if len(set(peaks)) > 1:
        curve = {"product": {"factors": [{"base": 1 / own.max_lr}, curve]}}
    return curve if samples == 1 else {"pace": {"schedule": curve, "units": samples, "steps": 1}}


def _configs(optimizer: Any) -> list[Any]:  # noqa: ANN401
    """What tells the parts of an optimizer the bound of the gradient."""
    parts = [optimizer, *getattr(optimizer, "chained_optimizers", ())]
    return [part.config for part in parts if hasattr(getattr(part, "config", None), "clip_grad")]


def _is_pipeline() -> bool:
    """Whether Megatron runs a pipeline, in which only the last rank knows the loss."""
    state: Any = sys.modules.get("megatron.core.parallel_state")
    try:
        return state is not None and int(state.get_pipeline_model_parallel_world_size()) > 1
    except Exception:  # noqa: BLE001 (Megatron's groups were not made)
        return False
