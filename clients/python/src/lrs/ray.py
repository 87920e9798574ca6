"""Ray Train: a scheduler for the loop of a PyTorch worker, which follows Ray's reports and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ray.train

from lrs import plain
from lrs.named import NamedMetrics
from lrs.torch import LRScheduler as TorchLRScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from typing_extensions import Unpack

    from lrs.torch import TorchArguments

__all__ = ["LRScheduler"]

_STATE_FILE: Final = "lrs.json"
#: How the names of an evaluation's metrics begin.
_EVALUATED: Final = ("val_", "eval_", "test_")


class LRScheduler(TorchLRScheduler):
    """Sets the rates of a worker's optimizer. Make it in `train_loop_per_worker`, on every worker.

    Call `guard` and `step` as in any loop, and `report` in place of `ray.train.report`. A worker group that Ray has
    restarted is a new attempt, which resumes from Ray's checkpoint. The workers' server must be reachable from their
    nodes: give `server`, or `LRS_SERVER` in the `runtime_env`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, job: str, **arguments: Unpack[TorchArguments]) -> None:
        """Register or find the job, and resume from `ray.train.get_checkpoint()` if `report` has saved a state in it.

        Args:
            optimizer: See `lrs.torch.LRScheduler`.
            job: See `lrs.Scheduler`.
            arguments: Those of `lrs.torch.LRScheduler`.
        """
        super().__init__(optimizer, job, **arguments)
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return
        with checkpoint.as_directory() as directory:
            saved = Path(directory) / _STATE_FILE
            state = json.loads(saved.read_text()) if saved.is_file() else None
        if state is not None:
            self.load_state_dict(state)

    def report(self, metrics: Mapping[str, Any], checkpoint: Any = None, **more: Any) -> None:  # noqa: ANN401
        """Call `ray.train.report`. The service gets what is an evaluation, and the checkpoint the scheduler's state.

        Args:
            metrics: Those of `ray.train.report`. Numbers whose names begin with `val_`, `eval_` or `test_` are an
                evaluation; so is what the job's controllers and objective name. `eval_loss` is reported as `val_loss`, which
                the service's controllers read.
            checkpoint: That of `ray.train.report`, of a local directory, which gets the file `lrs.json`. Default: none.
            more: Other arguments of `ray.train.report`.
        """
        named = NamedMetrics(self.core)
        wanted = named.among(metrics).keys()
        measured = {
            name: value
            for name, value in metrics.items()
            if (name.startswith(_EVALUATED) or name in wanted) and plain.number(value) is not None
        }
        if measured:
            self.log(named.evaluation(measured))
        if checkpoint is not None:
            with checkpoint.as_directory() as directory:
                (Path(directory) / _STATE_FILE).write_text(json.dumps(self.state_dict()))
        ray.train.report(dict(metrics), checkpoint=checkpoint, **more)
