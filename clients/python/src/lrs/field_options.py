"""The traits of the protos' fields that this client reads, with every protobuf that it works with.

The stubs of protobuf do not know extensions by field.
"""

from __future__ import annotations

from typing import Any

from lrs.v1.options_pb2 import length, short_for


def is_length(field: Any) -> bool:  # noqa: ANN401 (a descriptor, of either implementation)
    """Whether the field is a length or a position in steps."""
    return bool(field.GetOptions().Extensions[length])


def long_form(field: Any) -> str:  # noqa: ANN401 (a descriptor, of either implementation)
    """The name of the field that this field is short for; empty if it is none."""
    return str(field.GetOptions().Extensions[short_for])


def is_repeated(field: Any) -> bool:  # noqa: ANN401 (a descriptor, of either implementation)
    """Whether the field is a list or a map."""
    try:
        return bool(field.is_repeated)
    except AttributeError:  # protobuf before 6.31
        return bool(field.label == field.LABEL_REPEATED)
