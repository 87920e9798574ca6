"""Plain values in what people pass: the numbers in scalars of NumPy, PyTorch or JAX, and in texts.

What means the same is read the same. A refusal names the argument, what was given, and what to write.
"""

from __future__ import annotations

import difflib
import math
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def number(value: object) -> float | None:
    """The number in a number, in a scalar of an array library, or in a text; `None` if there is none."""
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def whole(value: object) -> int | None:
    """The whole number in a value, as `number` reads it: `5.0` and `"1e3"` are whole; `None` if there is none."""
    value = _scalar(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, str) and value.strip().lstrip("+-").replace("_", "").isdecimal():
        try:
            return int(value)
        except ValueError:  # `1__0`, `+-1`, or more digits than Python reads
            return None
    read = number(value)
    return int(read) if read is not None and math.isfinite(read) and read.is_integer() else None


def nearest(written: str, names: Collection[str]) -> str | None:
    """Which of the names may have been meant: the one that begins as it was written, or else one that is much like it."""
    word = written.strip().lower()
    begins = [name for name in names if word and name.lower().startswith(word)]
    near = begins or difflib.get_close_matches(word, names, n=1)
    return near[0] if near else None


def _scalar(value: object) -> object:
    """What a scalar or an array of one element holds; every other value as it is."""
    item = getattr(value, "item", None)
    if isinstance(value, (bool, Integral, Real, str)) or not callable(item) or not hasattr(value, "shape"):
        return value
    try:
        return item()
    except (TypeError, ValueError, RuntimeError):  # an array of several elements
        return value
