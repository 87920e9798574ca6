"""PyTorch: a loop without callbacks that is followed until its end. The adapters of such loops share this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrs.contract import End, Training

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from lrs.torch import LRScheduler


class Follower:
    """Follows a loop. Close it at the end, or use it in a `with` statement."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self.scheduler = scheduler
        """The scheduler of the optimizer's rates."""
        self._training = Training(scheduler)

    def log(self, *given: Mapping[str, object], **metrics: object) -> None:
        """Report metrics, such as an evaluation's `val_loss=0.3`, with the next update; see `lrs.Scheduler.log`."""
        self.scheduler.log(*given, **metrics)

    @property
    def stop_advice(self) -> str:
        """The service's reason to stop training now; empty if it gives none."""
        return self.scheduler.stop_advice

    def get_last_lr(self) -> list[Any]:
        """The rates in force, by parameter group."""
        return self.scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, in plain values. All ranks have the same, and none waits for another."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint. Call this before the first update; see `lrs.Scheduler.load_state_dict`."""
        self.scheduler.load_state_dict(state_dict)

    def close(self) -> None:
        """Leave the loop, and wait until the service has stored all reports, up to `close_timeout`."""
        self._training.end(End.FINISHED)

    def __enter__(self) -> Any:  # noqa: ANN401 (the adapter's own class)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is not None:
            self._training.fail(problem)
        self.close()
