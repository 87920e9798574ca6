"""Numbers that are still being computed on a device.

The host waits for a device when it reads a number from the device. The trainer's thread never does so: it starts a copy if the
device has one to start, and hands over a `Reading`. The link's threads then check the reading until the number is there.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lrs.errors import MetricError


@runtime_checkable
class Reading(Protocol):
    """A number that will be known later."""

    def ready(self) -> bool:
        """Whether `value` returns without waiting."""

    def value(self) -> float:
        """The number. Is called once, after `ready` was true."""


def not_a_number(value: object, name: str) -> MetricError:
    """The error for a value that is not a number."""
    shape = getattr(value, "shape", None)
    what = f"of type {type(value).__name__}" + (f" and shape {tuple(shape)}" if shape else "")
    return MetricError(
        f"{name} must be one number, and was {value!r:.60} {what}; pass a float or a tensor of one element."
    )
