"""Reads a reported loss, norm or metric, whichever library computed it."""

from __future__ import annotations

import sys

from lrs.jax_readings import JaxReading
from lrs.readings import Reading, not_a_number


def reading(value: object, name: str) -> float | Reading:
    """The number in `value`, or a reading of it if a device still computes it. Never waits for a device.

    Raises `MetricError` if `value` is not a number.
    """
    if isinstance(value, float):
        return float(value)
    kind = type(value)
    home = kind.__module__.partition(".")[0]
    # If torch is not imported, the value is not a tensor, so this never imports torch itself.
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
        # An array of one element is a number, whatever its shape; numpy's `float` takes only those without dimensions.
        return float(value.item() if getattr(value, "size", None) == 1 and hasattr(value, "item") else value)
    except (TypeError, ValueError, OverflowError) as problem:
        raise not_a_number(value, name) from problem


def number(value: object, name: str) -> float:
    """The number in `value`, which must be in the host's memory.

    Raises `MetricError` if `value` is not a number.
    """
    found = reading(value, name)
    if not isinstance(found, float):
        raise not_a_number(value, name)
    return found


def _is_torch_tensor(value: object) -> bool:
    torch = sys.modules["torch"]
    tensor = getattr(torch, "Tensor", None)
    return tensor is not None and isinstance(value, tensor)
