"""torchtitan: learning rates from the service in the place of a Trainer's `lr_schedulers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from torchtitan.distributed import utils as dist_utils

from lrs.arguments import check_arguments
from lrs.contract import End
from lrs.torch import CallbackArguments
from lrs.torch_follower import Follower
from lrs.torch_training import scheduler_of
from lrs.torch_view import OptimizerView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Unpack

__all__ = ["LRSchedulers"]

_LINEAR: Final[Mapping[str, Any]] = {"linear": {}}
_SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {"linear": _LINEAR, "cosine": {"cosine": {}}, "sqrt": {"power": 0.5}}


class LRSchedulers(Follower):
    """Sets the rates of a Trainer's optimizers. Make it on every rank before `trainer.train()`, which it follows.

    The Trainer's `lr_scheduler` configuration becomes the job's schedule, its checkpoints include the state, and its
    validation is reported as `val_loss`. The Trainer clips to the service's bound if that is lower than its own. The loss
    is rank 0's share of the batch, or in a pipeline the mean of the ranks that know one.
    """

    def __init__(self, trainer: Any, job: str, **arguments: Unpack[CallbackArguments]) -> None:  # noqa: ANN401
        """Register or find the job.

        Args:
            trainer: torchtitan's Trainer.
            job: See `lrs.Scheduler`.
            arguments: Those of `lrs.torch.LRScheduler` except `model`. By default, `tier` is 1, and `total_steps` and
                `schedule` are those of the Trainer's configuration.
        """
        check_arguments(arguments, CallbackArguments, LRSchedulers.__init__)
        self._trainer = trainer
        self._optimizers = trainer.optimizers
        view = OptimizerView(lambda: [group for one in self._optimizers for group in one.param_groups])
        asked: CallbackArguments = {"tier": 1, "total_steps": int(trainer.config.training.steps)}
        if not {"schedule", "spec"} & set(arguments):
            asked["schedule"] = _schedule(trainer.config)
        super().__init__(scheduler_of(view, job, arguments, asked, may_go_on=False))
        self._view = view
        dims = trainer.parallel_dims
        # The Trainer divides a rank's sum of losses by the tokens of all ranks.
        mesh = dims.get_optional_mesh("loss") if dims.dp_cp_enabled else None
        self._ranks = int(mesh.size()) if mesh is not None else 1
        trainer.lr_schedulers = self
        states = getattr(trainer.checkpointer, "states", None)
        if isinstance(states, dict):
            states["lr_scheduler"] = self
        self._training.wrap(trainer, "forward_backward_step", self._around_batch)
        self._training.wrap(dist_utils, "clip_grad_norm_", self._around_clipping)
        self._training.wrap(trainer.optimizers, "step", self._around_update)
        self._training.wrap(trainer.metrics_processor, "log_validation", self._around_validation)
        self._training.wrap(trainer, "train", self._around_training)

    def step(self) -> None:
        """The Trainer calls this after an update, which is reported already."""

    def get_metrics(self) -> dict[str, float]:
        """The rates in force, under the names that the Trainer logs them by."""
        metrics: dict[str, float] = {}
        for optimizer in self._optimizers:
            name = f"lr/{type(optimizer).__name__}"
            groups = optimizer.param_groups
            for index, group in enumerate(groups):
                metrics[name if len(groups) == 1 else f"{name}/{index}"] = float(group["lr"])
        return metrics

    def __iter__(self) -> Iterator[Any]:
        return iter([self.scheduler])

    def __len__(self) -> int:
        return 1

    def _around_batch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def forward_backward_step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            loss = call(*args, **kwargs)
            if not self._trainer.parallel_dims.pp_enabled or self._trainer.pp_has_last_stage:
                # A CUDA graph writes the next loss into the same memory.
                self._training.window.add_share(loss.detach().clone() * self._ranks)
            return loss

        return forward_backward_step

    def _around_clipping(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def clip_grad_norm_(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.scheduler.begin()
            bound = self.scheduler.clip_norm
            norm = call(parameters, max_norm if bound is None else min(max_norm, bound), *args, **kwargs)
            self.scheduler.judge_in_trainer(norm, self._training.window.so_far)
            return norm

        return clip_grad_norm_

    def _around_update(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self._view.before_update()
            done = call(*args, **kwargs)
            self._view.after_update()
            if self._trainer.parallel_dims.pp_enabled:
                window = self._training.window
                window.add_share(self.scheduler.mean_over_ranks(window.take()))
            self._training.update(updates=int(self._trainer.step))
            return done

        return step

    def _around_validation(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def log_validation(loss: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self._training.evaluated({"val_loss": loss})
            return call(loss, *args, **kwargs)

        return log_validation

    def _around_training(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def train(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            try:
                done = call(*args, **kwargs)
            except BaseException as problem:
                self._training.fail(problem)
                raise
            is_over = self._trainer.step >= self._trainer.config.training.steps
            self._training.end(End.FINISHED if is_over else End.STOPPED)
            return done

        return train


def _schedule(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """The schedule of a configuration: a linear warmup, a stretch at the base rate, and a decay at the end."""
    own = config.lr_scheduler
    total = int(own.total_steps if own.total_steps is not None else config.training.steps)
    warmup = min(int(own.warmup_steps), total)
    decay = total - warmup
    if own.decay_ratio is not None:
        decay = min(round(total * own.decay_ratio), decay)
    # The Trainer counts from 1 on both slopes.
    ends, parts = [], []
    if warmup > 1:
        parts.append(_slope(1 / warmup, 1.0, warmup - 1, _LINEAR))
        ends.append(warmup - 1)
    parts.append({"base": 1.0})
    if decay > 0:
        ends.append(total - decay)
        parts.append(_slope(1.0, float(own.min_lr_factor), decay, _SHAPES[own.decay_type]))
    return {"seq": {"boundaries": ends, "parts": parts}}


def _slope(start: float, end: float, over: int, shape: Mapping[str, Any]) -> dict[str, Any]:
    return {"ease": {"start": {"base": start}, "end": {"base": end}, "over": over, "shape": shape}}
