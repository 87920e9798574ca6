"""Habits of other schedulers, and calls that were forgotten: each gets a warning, once, that names the line to change."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lrs.once import WarnOnce

if TYPE_CHECKING:
    from types import FrameType

#: The first so many calls of `step` are looked at.
LOOKED_AT: Final = 200
#: After so many updates of the optimizer without a call of `step`, a warning comes.
UPDATES_WITHOUT_STEP: Final = 100
#: A habit that shows so often is warned of.
_OFTEN: Final = 3
_LOSSES: Final = 6
#: An epoch has fewer updates than its inverse.
_SMALLEST_GAP: Final = 1e-7


class Habits:
    """Looks at the calls of a training loop in PyTorch."""

    def __init__(self, tier: int) -> None:
        self._tier = tier
        self._warn = WarnOnce()
        self._losses: deque[float] = deque(maxlen=_LOSSES)
        self._unguarded = self._many = self._alternations = 0
        self._applied = 1

    def other_scheduler(self) -> None:
        """A scheduler of PyTorch steps the same optimizer."""
        self._warn(
            "other",
            "Another learning-rate scheduler of PyTorch steps this optimizer too, and both set its rates. Remove it, or give "
            'its schedule to this one: schedule={"library": "torch", "scheduler": "CosineAnnealingLR", "params": {…}}.',
        )

    def step(self, loss: object, applied: int, *, guarded: bool) -> None:
        """A call of `step` with a loss. The optimizer was stepped `applied` times since the call before."""
        if loss.__class__ is float or loss.__class__ is int:
            self._look_at_loss(float(loss))
        if self._tier and applied and not guarded:
            self._unguarded += 1
            if self._unguarded == _OFTEN:
                self._warn(
                    "guard",
                    f"This trainer is of tier {self._tier}, but guard() is not called, so the gradient is not clipped and "
                    f"updates that are not finite are made. Write `if scheduler.guard(loss): optimizer.step()`"
                    f"{above()}, or give tier=0.",
                )
        if applied and self._applied:
            self._alternations = 0
        elif self._applied:
            self._alternations += 1
            if self._alternations == _OFTEN:
                self._warn(
                    "twice",
                    "scheduler.step() is called twice for each optimizer.step(), so the service sees two steps where there "
                    f"is one. Remove one of the calls{here()}.",
                )
        if applied > 1:
            self._many += 1
            if self._many == 2:
                self._warn(
                    "many",
                    f"optimizer.step() is called {applied} times for a call of scheduler.step(), so the service sees a step "
                    f"where there are {applied}. Call `scheduler.step(loss)` after each optimizer.step(){here()}.",
                )
        self._applied = applied

    def _look_at_loss(self, loss: float) -> None:
        """`step(epoch)` and `step(epoch + i / n)` give numbers that rise at equal distances."""
        losses = self._losses
        losses.append(loss)
        if len(losses) < _LOSSES:
            return
        gap = losses[1] - losses[0]
        rest = list(losses)
        if gap > _SMALLEST_GAP and all(abs(b - a - gap) <= 1e-6 * gap for a, b in itertools.pairwise(rest)):
            self._warn(
                "epochs",
                f"step() is called with {rest[0]:g}, {rest[1]:g}, {rest[2]:g} and so on, which look like epochs and are "
                f"recorded as losses. Write `scheduler.step(loss)`{here()}: the service counts the steps.",
            )

    def never(self) -> None:
        """The optimizer was stepped many times without a call of `step`."""
        self._warn(
            "never",
            f"optimizer.step() was called {UPDATES_WITHOUT_STEP} times without a call of scheduler.step(), so the rates do "
            f"not change and nothing is reported. Call `scheduler.step(loss)` after each optimizer.step(){here()}.",
        )


def here() -> str:
    """` at FILE:LINE` of the trainer's code that called this client; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        home = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if home not in ("lrs", "torch", "accelerate", "contextlib"):
            return f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def above() -> str:
    """` above FILE:LINE`; see `here`."""
    place = here()
    return place.replace(" at ", " above ", 1)
