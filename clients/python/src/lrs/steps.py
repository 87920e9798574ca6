"""Step numbers count the optimizer's updates from 0. Within an attempt they only rise."""

from __future__ import annotations

import operator
from typing import Any, Final

from lrs import plain
from lrs.errors import StepError, UsageError

_LAST_STEP: Final = (1 << 53) - 1


def whole(value: Any, name: str) -> int:  # noqa: ANN401 (checked here)
    """`value` as an integer. Raises a `UsageError` that names the argument if it is not an integer."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    read = plain.whole(value)
    if read is None:
        raise UsageError(f"{name} must be a whole number, such as 7, and was {value!r:.60}.")
    return read


def first_step(value: object) -> int:
    """Check the step that an attempt begins at."""
    step = whole(value, "resume_step")
    if step < 0:
        raise UsageError(f"resume_step must be at least 0, and was {step}.")
    return step


def next_step(value: object, expected: int) -> int:
    """Check a reported step: it must be `expected` or a later step."""
    step = whole(value, "step")
    if step < expected:
        raise StepError(
            f"Step {step} was reported, but step {expected} comes next: within an attempt, steps only rise. To go back, make "
            "a new Scheduler with resume_step or load_state_dict(): it begins a new attempt."
        )
    if step > _LAST_STEP:
        raise StepError(f"Step {step} was reported, but a step is at most {_LAST_STEP}, which is 2^53 - 1.")
    return step
