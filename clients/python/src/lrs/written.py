"""Specs as people write them: what means the same is read the same, as in a job file.

Beside the fields of the proto this takes: `"cosine"` for `{"cosine": {}}` where one of several forms is chosen; one element
for a list of one; the short names of enums in any case; names in kebab or camel case; numbers as text, and text as numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, NoReturn

from google.protobuf.descriptor import FieldDescriptor

from lrs import plain
from lrs.errors import UsageError
from lrs.field_options import is_repeated, long_form

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

#: The types of whole numbers, and the greatest number of each.
_MOST = {FieldDescriptor.CPPTYPE_INT32: 2**31 - 1, FieldDescriptor.CPPTYPE_INT64: 2**63 - 1}
#: The word that a short form takes.
_SHORT = "auto"
_NUMBER_TYPES = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
#: Other words for the values of an enum, as the service reads them.
_SYNONYMS: Mapping[str, Mapping[str, str]] = {
    "lrs.v1.Unit": {
        "ep": "epoch",
        "epochs": "epoch",
        "steps": "step",
        "samples": "sample",
        "tok": "token",
        "tokens": "token",
    }
}
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def canonical(message: Descriptor, value: object, path: str = "") -> object:
    """The value as canonical JSON of a message.

    Raises:
        UsageError: With the path of what cannot be read, what was given, and what to write.
    """
    forms = _forms(message)
    if message.full_name.startswith("google.protobuf."):
        if message.name != "Struct":
            return value
        if not isinstance(value, Mapping):
            _refuse(path, value, "write names and values, such as {'gamma': 0.1}")
        return _plain(value, path)
    if isinstance(value, str) and forms:
        form = next((form for form in forms if form.name == _snake_case(value)), None)
        if form is None:
            _refuse(path, value, _choose(value, [form.name for form in forms]))
        if form.message_type is None or is_repeated(form):
            _refuse(path, value, f"write {{{form.name!r}: …}} with a value")
        return {form.name: {}}
    if not isinstance(value, Mapping):
        names = ", ".join(field.name for field in message.fields)
        example = (
            f"write a form with its parameters, such as {{{forms[0].name!r}: {{}}}}; the forms"
            if forms
            else "write its fields"
        )
        _refuse(path, value, f"{example} are {names}" if forms else f"{example}, which are {names}")
    return _fields(message, value, path)


def field_of(message: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of this name, in snake, kebab or camel case."""
    return message.fields_by_name.get(name.replace("-", "_")) or message.fields_by_camelcase_name.get(name)


def _fields(message: Descriptor, value: Mapping[object, object], path: str) -> dict[str, object]:
    fields: dict[str, object] = {}
    for written, content in value.items():
        name = str(written)
        place = f"{path}.{name}" if path else name
        field = field_of(message, name)
        if field is None:
            _refuse(place, written, _choose(name, [field.name for field in message.fields]), what="the field ")
        if content is None:
            continue
        field, content = _long(field, content, place)
        oneof = field.containing_oneof
        rivals = [other.name for other in oneof.fields if other.name in fields] if oneof is not None else []
        if field.name in fields or rivals:
            _refuse(place, written, f"{[field.name, *rivals][-1]!r} is there already", what="the field ")
        fields[field.name] = _field(field, content, place)
    return fields


def _long(field: FieldDescriptor, value: object, place: str) -> tuple[FieldDescriptor, object]:
    """A short form as it is, or as its long form: `{"auto": {}}`, or the name of another form."""
    message = field.containing_type
    long = message.fields_by_name.get(long_form(field)) if message is not None else None
    if long is None or long.message_type is None:
        return field, value
    return (field, _SHORT) if isinstance(value, str) and _snake_case(value) == _SHORT else (long, value)


def _field(field: FieldDescriptor, value: object, path: str) -> object:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            _refuse(path, value, "write names and values, such as {'team': 'vision'}")
        of_value = entry.fields_by_name["value"]
        return {str(key): _element(of_value, content, f"{path}.{key}") for key, content in value.items()}
    if not is_repeated(field):
        return _element(field, value, path)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        return [_element(field, value, path)]
    return [_element(field, content, f"{path}[{index}]") for index, content in enumerate(value)]


def _element(field: FieldDescriptor, value: object, path: str) -> object:
    kind = field.cpp_type
    if field.message_type is not None:
        return canonical(field.message_type, value, path)
    if field.enum_type is not None:
        return _word(field.enum_type, value, path)
    if kind in _NUMBER_TYPES:
        return _number(value, path)
    if kind in _MOST:
        return _whole(value, path, _MOST[kind])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        known = {"true": True, "false": False}.get(str(value).lower())
        if known is None:
            _refuse(path, value, "write True or False")
        return known
    if not isinstance(value, (str, bool, Real)):
        _refuse(path, value, "write a text")
    return _text(str(value), path)


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(path, text, "write a text without halves of characters, as broken input leaves them")
    return text


def _plain(value: object, path: str) -> object:
    """A value of JSON, as a library's arguments are."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, Mapping):
        return {_text(str(name), path): _plain(part, f"{path}.{name}") for name, part in value.items()}
    if plain.number(value) is not None:
        return _number(value, path)
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Iterable):
        _refuse(path, value, "write a number, a text, True, False or None, or a list or names and values of these")
    return [_plain(part, f"{path}[{index}]") for index, part in enumerate(value)]


def _word(words: EnumDescriptor, value: object, path: str) -> str:
    prefix = words.values[0].name.removesuffix("UNSPECIFIED")
    short = {word.name.removeprefix(prefix).lower(): word.name for word in words.values}
    if isinstance(value, str):
        name = _snake_case(value)
        name = _SYNONYMS.get(words.full_name, {}).get(name, name)
        found = short.get(name) or short.get(value.upper().removeprefix(prefix).lower())
    elif isinstance(value, Integral) and int(value) in words.values_by_number:
        found = words.values_by_number[int(value)].name
    else:
        found = None
    if found is None:
        _refuse(
            path,
            value,
            _choose(str(value), [name for name, word in short.items() if words.values_by_name[word].number]),
        )
    return found


def _number(value: object, path: str) -> float:
    number = plain.number(value)
    if number is None:
        _refuse(path, value, "write a number, such as 0.1 or 1e-3")
    if not math.isfinite(number):
        _refuse(path, value, "write a finite number, such as 0.1 or 1e-3")
    return number


def _whole(value: object, path: str, most: int) -> int:
    number = plain.whole(value)
    if number is None:
        _refuse(path, value, "write a whole number, such as 1000")
    if not -most <= number <= most:
        _refuse(path, value, f"write a whole number of at most {most}")
    return number


def _forms(message: Descriptor) -> list[FieldDescriptor]:
    """The forms of which one is chosen in a message."""
    chosen = [oneof for oneof in message.oneofs if not oneof.name.startswith("_")]
    return list(chosen[0].fields) if chosen else []


def _snake_case(name: str) -> str:
    return _WORD_START.sub("_", name.strip()).replace("-", "_").replace(" ", "_").lower()


def _choose(written: str, names: list[str]) -> str:
    near = plain.nearest(_snake_case(written), names)
    meant = f"did you mean {near!r}? There are " if near else "there are "
    return meant + ", ".join(names)


def _refuse(path: str, value: object, allowed: str, what: str = "") -> NoReturn:
    place = f"{path}: " if path else ""
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 (a number of too many digits, or whatever another's `__repr__` raises)
        shown = f"a value of type {type(value).__name__}"
    raise UsageError(f"The job's spec cannot be read: {place}{what}{shown:.60} is not allowed here: {allowed}.")
