"""The contract of all integrations: what a trainer's adapter tells of a training, and how it leaves.

For each optimizer update an adapter tells the mean loss of the window that was really accumulated, whether the update
was applied or skipped and why, and the step that the trainer itself counts. It tells evaluations where they happen, and
the end with its reason. It never raises for what was measured, and removes what it hooked on every exit.
"""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from lrs.errors import LrsError, MetricError
from lrs.once import WarnOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger("lrs")

#: The metric that marks a skipped update; its value is that of `Skipped`.
SKIPPED_METRIC: Final = "lrs_skipped"


#: The bytes of a number in single precision.
_SINGLE: Final = 4


class Skipped(enum.IntEnum):
    """Why an update was not applied."""

    NOT_FINITE = 1
    """The loss or the norm of the gradient was not finite."""
    ABOVE_BOUND = 2
    """The norm of the gradient was above the service's bound."""
    BY_TRAINER = 3
    """The trainer left it out, such as a GradScaler that found an infinity."""


class End(enum.Enum):
    """How a training ended."""

    FINISHED = "finished"
    """It trained as long as it should."""
    STOPPED = "was stopped early"
    """The trainer stopped it before its length, such as by early stopping."""
    FAILED = "failed"
    """An exception ended it."""


class Target(Protocol):
    """A scheduler that an adapter tells of its trainer."""

    @property
    def next_step(self) -> int:
        """The step that is trained next."""

    def step(
        self,
        loss: object = None,
        grad_norm: object = None,
        metrics: Mapping[str, object] | None = None,
        *,
        step: int | None = None,
        learning_rate: float | None = None,
    ) -> object:
        """Report an update."""

    def log(self, *given: Mapping[str, object], **metrics: object) -> None:
        """Report an evaluation."""

    def close(self, timeout: float | None = None) -> None:
        """Wait until the service has stored all reports."""


class Window:
    """The losses of the batches of an update, summed up where they are: no device is waited for."""

    def __init__(self) -> None:
        self._sum: Any = None
        self._weight = 0.0

    def add(self, loss: Any, weight: float = 1.0) -> None:  # noqa: ANN401 (a number or a tensor)
        """Add a batch's mean loss. The window's loss is the mean over its batches, or the mean by their weights."""
        if loss is None:
            return
        self.add_share(loss if weight == 1 else loss * weight)
        self._weight += weight

    def add_share(self, loss: Any) -> None:  # noqa: ANN401 (a number or a tensor)
        """Add a batch's share in the loss of the window: the trainer has divided it by what it accumulates."""
        if loss is None:
            return
        part = loss
        if hasattr(loss, "detach"):
            part = loss.detach()
            if part.element_size() < _SINGLE:
                part = part.float()  # a sum of many in half precision stands still
        self._sum = part if self._sum is None else self._sum + part

    @property
    def so_far(self) -> Any:  # noqa: ANN401 (a number or a tensor)
        """The loss of the batches so far; `None` if none had a loss."""
        return self._sum / self._weight if self._weight not in (0.0, 1.0) else self._sum

    def take(self) -> Any:  # noqa: ANN401 (a number or a tensor)
        """The window's loss; `None` if no batch had a loss. The next window begins empty."""
        loss = self.so_far
        self._sum, self._weight = None, 0.0
        return loss


class Training:
    """A stretch of training that an adapter tells of, from its begin to its end."""

    def __init__(self, scheduler: Target) -> None:
        self.window = Window()
        """The losses of the update that is being accumulated."""
        self.ended: End | None = None
        """How it ended; `None` while it goes on."""
        self._scheduler = scheduler
        self._hooks: list[Callable[[], None]] = []
        self._warn = WarnOnce()

    def hook(self, remove: Callable[[], None]) -> None:
        """Keep what removes a hook from the trainer. It is called at the end, the newest first."""
        self._hooks.append(remove)

    def wrap(self, owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:  # noqa: ANN401
        """Put a function around a method of one object, or a function of a module, until the training ends."""
        had, before = name in vars(owner), getattr(owner, name)
        wrapped = around(before)
        setattr(owner, name, wrapped)

        def remove() -> None:
            if vars(owner).get(name) is not wrapped:
                return  # somebody else has put another in its place
            if had:
                setattr(owner, name, before)
            else:
                delattr(owner, name)

        self.hook(remove)

    def end_with(self, owner: object, name: str, *, spare: tuple[type[BaseException], ...] = ()) -> None:
        """Let an exception that leaves a method of one object end the training.

        Args:
            owner: The object.
            name: The name of its method.
            spare: The exceptions by which the trainer itself directs its loop.
        """

        def around(call: Callable[..., Any]) -> Callable[..., Any]:
            def until_it_raises(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                try:
                    return call(*args, **kwargs)
                except spare:
                    raise
                except BaseException as problem:
                    self.fail(problem)
                    raise

            return until_it_raises

        self.wrap(owner, name, around)

    def fail(self, problem: BaseException) -> None:
        """End, because of an exception."""
        self.end(End.FAILED, f"{type(problem).__name__}: {problem}"[:200])

    def update(
        self,
        *,
        updates: int | None = None,
        skipped: Skipped | None = None,
        grad_norm: object = None,
        metrics: Mapping[str, object] | None = None,
        learning_rate: float | None = None,
    ) -> None:
        """Report the update of the window, applied or skipped.

        Args:
            updates: The trainer's count of updates, this one included. Default: one more than before.
            skipped: Why the update was not applied; `None`: it was.
            grad_norm: The norm of the whole gradient before clipping.
            metrics: Other numbers of the update.
            learning_rate: The rate that was used, if another has been set since.
        """
        loss = self.window.take()
        step = self._scheduler.next_step if updates is None else max(updates - 1, self._scheduler.next_step)
        told = dict(metrics or {})
        if skipped is not None:
            told[SKIPPED_METRIC] = float(skipped)
        try:
            self._scheduler.step(loss, grad_norm, told or None, step=step, learning_rate=learning_rate)
        except MetricError as problem:
            self._warn("number", f"This trainer's loss or norm is left out: {problem}")
            self._scheduler.step(None, None, told or None, step=step, learning_rate=learning_rate)

    def evaluated(self, metrics: Mapping[str, object]) -> None:
        """Report an evaluation, where it happens: after the updates so far, and before the next."""
        self._scheduler.log(metrics)

    def end(self, how: End, reason: str = "") -> None:
        """Remove all hooks, and wait until the service has stored all reports. Further calls do nothing."""
        if self.ended is not None:
            return
        self.ended = how
        while self._hooks:
            self._hooks.pop()()
        if how is not End.FINISHED:
            why = f": {reason}" if reason else ""
            log.info("The training %s, before step %d%s.", how.value, self._scheduler.next_step, why)
        try:
            self._scheduler.close()
        except LrsError as problem:
            if how is not End.FAILED:
                raise
            log.warning("%s", problem)  # the exception that ended the training is raised
