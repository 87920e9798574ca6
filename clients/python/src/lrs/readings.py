"""Numbers that are still being computed on a device.

Reading a number off a device makes the host wait for it. The trainer's thread never does that: it starts a copy where there
is one to start, and hands over a `Reading`, which the link looks at until it is there.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lrs.errors import MetricError


@runtime_checkable
class Reading(Protocol):
    """A number that will be there some time later."""

    def ready(self) -> bool:
        """Whether `value` can be had without waiting."""

    def value(self) -> float:
        """The number. Called once, after `ready`."""


def not_a_number(value: object, name: str) -> MetricError:
    """The error for a value that is no number."""
    shape = getattr(value, "shape", None)
    what = f"of type {type(value).__name__}" + (f" and shape {tuple(shape)}" if shape else "")
    return MetricError(
        f"{name} must be one number, and was {value!r:.60} {what}; pass a float or a tensor of one element."
    )
