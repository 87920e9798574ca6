"""Step numbers: 0-based updates of the optimizer, which only rise within an attempt."""

from __future__ import annotations

import operator
from typing import Any, Final

from lrs.errors import StepError, UsageError

_LAST_STEP: Final = (1 << 53) - 1


def whole(value: Any, name: str) -> int:  # noqa: ANN401 (checked here)
    """`value` as an integer; raises `UsageError` naming the argument if it is none."""
    try:
        return operator.index(value)
    except TypeError as problem:
        raise UsageError(f"{name} must be a whole number, and was {value!r:.60}.") from problem


def first_step(value: object) -> int:
    """The step that an attempt begins at."""
    step = whole(value, "resume_step")
    if step < 0:
        raise UsageError(f"resume_step is the step trained next, at least 0, and was {step}.")
    return step


def next_step(value: object, expected: int) -> int:
    """A step that is reported where `expected` would come next: that, or a later one."""
    step = whole(value, "step")
    if step < expected:
        raise StepError(
            f"Step {step} was reported and step {expected} is next: within an attempt steps only rise. To go back, make "
            "a new Scheduler with resume_step or load_state_dict(), which begins a new attempt."
        )
    if step > _LAST_STEP:
        raise StepError(f"Step {step} was reported; steps are at most {_LAST_STEP}, that is 2^53 - 1.")
    return step
