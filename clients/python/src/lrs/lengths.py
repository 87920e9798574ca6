"""Lengths in words that name their unit, such as `90ep`, in a spec written as plain values: read as steps.

The protos mark the fields with the option `length`. What a word needs stands in the same spec: `steps_per_epoch` for
epochs, `total_steps` for shares of the training, `tokens_per_step` for tokens.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from lrs.errors import UsageError
from lrs.field_options import is_length
from lrs.written import field_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from lrs.v1.job_pb2 import JobSpec

_WORD = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*([a-z]+|%)\s*", re.IGNORECASE)
#: The units of a length, by the field that says how many steps each has; those of the empty name are steps.
_UNITS: Final = {
    "": ("step", "steps", "ba", "batch", "batches"),
    "steps_per_epoch": ("ep", "epoch", "epochs"),
    "total_steps": ("%", "dur"),
    "tokens_per_step": ("tok", "token", "tokens"),
}
_MOST_STEPS = 2**53 - 1
#: Schedules in these fields have a time of their own.
OWN_TIME = ("lrs.v1.Pace.schedule", "lrs.v1.Repeat.body")


def length_of(spec: JobSpec | None) -> int:
    """The length of a job's training in steps; 0 if it is open-ended."""
    if spec is None:
        return 0
    if spec.HasField("target_epochs") and spec.steps_per_epoch > 0:
        return rounded(spec.target_epochs * spec.steps_per_epoch)
    return max(0, spec.total_steps)


def rounded(exact: float) -> int:
    """The nearest whole number, and of two the one further from 0, as the service rounds lengths."""
    if exact < 0:
        return -rounded(-exact)
    below = math.floor(exact)
    return below + (exact - below >= 0.5)


class _Scale:
    """What a spec says about its units."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.steps_per_epoch = _count(spec, "steps_per_epoch")
        self.tokens_per_step = _count(spec, "tokens_per_step")
        self.total_steps: float | None = None
        epochs = _count(spec, "target_epochs")
        if epochs is not None and self.steps_per_epoch is not None:
            self.total_steps = rounded(epochs * self.steps_per_epoch)

    def steps(self, word: str, path: str) -> int:
        """The steps that a word says, rounded to a whole number.

        Raises:
            UsageError: If the word is no length, or the spec does not say what it needs.
        """
        match = _WORD.fullmatch(word)
        number, unit = (float(match[1]), match[2].lower()) if match else (math.inf, "")
        field = next((field for field, units in _UNITS.items() if unit in units), None)
        if field is None or not math.isfinite(number):
            raise UsageError(
                f"{path}: {word!r} is not a length: write a number of steps, or words such as '2000step', '90ep', '5%' or "
                "'3e9tok'."
            )
        scale = getattr(self, field) if field else 1.0
        if scale is None:
            raise UsageError(f"{path}: {word!r} needs the job's {field}, in the same spec.")
        # In the same order as the service: another order may end half a step apart.
        exact = (
            number / scale if unit in _UNITS["tokens_per_step"] else (number / 100 if unit == "%" else number) * scale
        )
        if not math.isfinite(exact) or not 0 <= rounded(exact) <= _MOST_STEPS:
            raise UsageError(f"{path}: {word!r} is not allowed: write a length from 0 to 2^53 - 1 steps.")
        return rounded(exact)


def in_steps(message: Descriptor, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec, written as the JSON of `message`, with every length in words replaced by its steps.

    Raises:
        UsageError: If a word is no length, or the spec does not say what it needs.
    """
    fields = ((field_of(message, str(name)), value) for name, value in spec.items())
    known = {field.name: value for field, value in fields if field is not None}
    scale = _Scale(known)
    if scale.total_steps is None and "total_steps" in known:
        scale.total_steps = _count(_read(message, {"total_steps": known["total_steps"]}, scale, ""), "total_steps")
    read: dict[str, Any] = _read(message, spec, scale, "")
    return read


def _read(message: Descriptor, fields: object, scale: _Scale | None, path: str) -> Any:  # noqa: ANN401
    """`scale` is `None` where time is not counted in steps."""
    if not hasattr(fields, "items"):
        return fields
    read = {}
    for name, value in fields.items():
        field = field_of(message, str(name))
        read[name] = value if field is None else _value(field, value, scale, f"{path}.{name}" if path else name)
    return read


def _value(field: FieldDescriptor, value: object, scale: _Scale | None, path: str) -> Any:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return [_value(field, element, scale, f"{path}[{place}]") for place, element in enumerate(value)]
    if field.message_type is not None and not field.message_type.GetOptions().map_entry:
        own_time = field.full_name in OWN_TIME
        return _read(field.message_type, value, None if own_time else scale, path)
    if not isinstance(value, str) or not is_length(field) or _number(value) is not None:
        return value
    if scale is None:
        raise UsageError(f"{path}: {value!r} is not allowed: time is not counted in steps here, write a number.")
    return scale.steps(value, path)


def _count(spec: Mapping[str, Any], name: str) -> float | None:
    """A finite number above 0 under this name."""
    number = _number(spec.get(name))
    return number if number is not None and 0 < number < math.inf else None


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
