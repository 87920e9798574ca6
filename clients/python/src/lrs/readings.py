"""Numbers that a trainer reports, some of which are still being computed on a device.

Reading a number off a device makes the host wait for it. The trainer's thread never does that: it starts a copy where there
is one to start, and hands over a `Reading`, which the link looks at until it is there.
"""

from __future__ import annotations

import sys
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from lrs.errors import MetricError


@runtime_checkable
class Reading(Protocol):
    """A number that will be there some time later."""

    def ready(self) -> bool:
        """Whether `value` can be had without waiting."""

    def value(self) -> float:
        """The number. Called once, after `ready`."""


def reading(value: object, name: str) -> float | Reading:
    """The number `value` is, or will be. Does not wait for a device.

    Raises `MetricError` if it can be no number.
    """
    if isinstance(value, float):
        return float(value)
    kind = type(value)
    home = kind.__module__.partition(".")[0]
    # Only a library that has been imported can have made the value, so nothing is imported here that was not before.
    if "torch" in sys.modules and _is_torch_tensor(value):
        from lrs.torch_readings import tensor_reading

        return tensor_reading(value, name)
    if home in ("jaxlib", "jax") and hasattr(value, "is_ready"):
        return JaxReading(value, name)
    if isinstance(value, Reading):
        return value
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__float__"):
        raise not_a_number(value, name)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as problem:
        raise not_a_number(value, name) from problem


def number(value: object, name: str) -> float:
    """The number `value` is, which must lie in the host's memory.

    Raises `MetricError` if it is none.
    """
    if not isinstance(value, Real):
        raise not_a_number(value, name)
    return float(value)


class JaxReading:
    """A scalar of JAX, whose dispatch is asynchronous on every platform."""

    __slots__ = ("_array",)

    def __init__(self, array: Any, name: str) -> None:  # noqa: ANN401 (jax is not a dependency)
        if array.size != 1:
            raise not_a_number(array, name)
        array.copy_to_host_async()
        self._array = array

    def ready(self) -> bool:
        """Whether it has been computed."""
        return bool(self._array.is_ready())

    def value(self) -> float:
        """The number."""
        return float(self._array.reshape(()))


def not_a_number(value: object, name: str) -> MetricError:
    """The error for a value that is no number."""
    shape = getattr(value, "shape", None)
    what = f"of type {type(value).__name__}" + (f" and shape {tuple(shape)}" if shape else "")
    return MetricError(
        f"{name} must be one number, and was {value!r:.60} {what}; pass a float or a tensor of one element."
    )


def _is_torch_tensor(value: object) -> bool:
    torch = sys.modules["torch"]
    tensor = getattr(torch, "Tensor", None)
    return tensor is not None and isinstance(value, tensor)
