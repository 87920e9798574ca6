"""Lengths in words that name their unit, such as `90ep`, in a spec written as plain values: read as steps.

The protos mark the fields with the option `length`. What a word needs stands in the same spec: `steps_per_epoch` for
epochs, `total_steps` for shares of the training, `tokens_per_step` for tokens.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from lrs.errors import UsageError
from lrs.field_options import is_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from lrs.v1.job_pb2 import JobSpec

_WORD = re.compile(r"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*([a-z]+|%)\s*", re.IGNORECASE)
_MOST_STEPS = 2**53 - 1
#: Schedules in these fields have a time of their own.
_OWN_TIME = ("lrs.v1.Pace.schedule", "lrs.v1.Repeat.body")


def length_of(spec: JobSpec | None) -> int:
    """The length of a job's training in steps; 0 if it is open-ended."""
    if spec is None:
        return 0
    if spec.HasField("target_epochs") and spec.steps_per_epoch > 0:
        return rounded(spec.target_epochs * spec.steps_per_epoch)
    return max(0, spec.total_steps)


def rounded(exact: float) -> int:
    """The nearest whole number, the greater one of two, as the service rounds lengths."""
    below = math.floor(exact)
    return below + (exact - below >= 0.5)


class _Scale:
    """What a spec says about its units."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.steps_per_epoch = _count(spec, "steps_per_epoch", "stepsPerEpoch")
        self.tokens_per_step = _count(spec, "tokens_per_step", "tokensPerStep")
        self.total_steps: float | None = None
        epochs = _count(spec, "target_epochs", "targetEpochs")
        if epochs is not None and self.steps_per_epoch is not None:
            self.total_steps = round(epochs * self.steps_per_epoch)

    def steps(self, word: str, path: str) -> int:
        """The steps that a word says, rounded to a whole number.

        Raises:
            UsageError: If the word is no length, or the spec does not say what it needs.
        """
        match = _WORD.fullmatch(word)
        factors: dict[str, float | None] = {"step": 1.0, "steps": 1.0, "ba": 1.0, "batch": 1.0, "batches": 1.0}
        factors |= dict.fromkeys(("ep", "epoch", "epochs"), self.steps_per_epoch)
        factors |= {"%": self.total_steps / 100 if self.total_steps else None, "dur": self.total_steps}
        factors |= dict.fromkeys(("tok", "token", "tokens"), 1 / self.tokens_per_step if self.tokens_per_step else None)
        unit = match[2].lower() if match else ""
        if match is None or unit not in factors:
            raise UsageError(
                f"{path}: {word!r} is not a length: write a number of steps, or words such as '2000step', '90ep', '5%' or "
                "'3e9tok'."
            )
        factor = factors[unit]
        if factor is None:
            needed = {"e": "steps_per_epoch", "t": "tokens_per_step"}.get(unit[0], "total_steps")
            raise UsageError(f"{path}: {word!r} needs the job's {needed}.")
        steps = math.floor(float(match[1]) * factor + 0.5)
        if steps > _MOST_STEPS:
            raise UsageError(f"{path}: {word!r} is more than 2^53 - 1 steps.")
        return steps


def in_steps(message: Descriptor, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec, written as the JSON of `message`, with every length in words replaced by its steps.

    Raises:
        UsageError: If a word is no length, or the spec does not say what it needs.
    """
    scale = _Scale(spec)
    if scale.total_steps is None:
        written = _read(
            message, {name: spec[name] for name in ("total_steps", "totalSteps") if name in spec}, scale, ""
        )
        scale.total_steps = _count(written, "total_steps", "totalSteps")
    read: dict[str, Any] = _read(message, spec, scale, "")
    return read


def _read(message: Descriptor, fields: object, scale: _Scale | None, path: str) -> Any:  # noqa: ANN401
    """`scale` is `None` where time is not counted in steps."""
    if not hasattr(fields, "items"):
        return fields
    by_name = {name: field for field in message.fields for name in (field.name, field.json_name)}
    read = {}
    for name, value in fields.items():
        field = by_name.get(name)
        read[name] = value if field is None else _value(field, value, scale, f"{path}.{name}" if path else name)
    return read


def _value(field: FieldDescriptor, value: object, scale: _Scale | None, path: str) -> Any:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return [_value(field, element, scale, f"{path}[{place}]") for place, element in enumerate(value)]
    if field.message_type is not None and not field.message_type.GetOptions().map_entry:
        own_time = field.full_name in _OWN_TIME
        return _read(field.message_type, value, None if own_time else scale, path)
    if not isinstance(value, str) or not is_length(field) or _number(value) is not None:
        return value
    if scale is None:
        raise UsageError(f"{path}: {value!r} is not allowed: time is not counted in steps here, write a number.")
    return scale.steps(value, path)


def _count(spec: Mapping[str, Any], *names: str) -> float | None:
    """A number above 0 under one of these names."""
    number = next((_number(spec[name]) for name in names if spec.get(name) is not None), None)
    return number if number is not None and number > 0 else None


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
