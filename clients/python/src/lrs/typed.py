"""Arguments as people type them: plain names of schedules, and the service's complaints in the words that were typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from lrs import plain
from lrs.figures import allowed_name
from lrs.implied import in_spec
from lrs.lengths import OWN_TIME
from lrs.written import field_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from lrs.arguments import SchedulerArguments
    from lrs.errors import LrsError

#: Parts of the names of metrics of which a higher value is better.
_RISING: Final = re.compile(
    r"(^|[_/])(acc|accuracy|auc|auroc|bleu|f1|iou|map|precision|r2|recall|reward|rouge\w*|score|top\d+)($|[_/])",
    re.IGNORECASE,
)

#: A complaint of the service: the path, the value where there is one, and what is allowed.
_COMPLAINT: Final = re.compile(
    r"job\.spec\.([\w.\[\]\"' -]+?): "
    r"(?:(\S+(?: [^:;]{1,40}?)?) is not allowed: (must be )|(is required): (must be )?)?"
)


def with_defaults(message: Descriptor, fields: Mapping[str, Any], *, has_length: bool) -> dict[str, Any]:
    """A spec whose schedules that are plain names have what the service has no default for.

    `constant` is the base rate at every step, and `wsd` decays over the last fifth, if the length of the training is known:
    `has_length`.
    """
    return {name: _spelt_out(field_of(message, str(name)), value, has_length) for name, value in fields.items()}


def _spelt_out(field: FieldDescriptor | None, value: object, has_length: bool) -> Any:  # noqa: ANN401
    message = field.message_type if field is not None else None
    if field is None or message is None or message.full_name.startswith("google.") or message.GetOptions().map_entry:
        return value
    if isinstance(value, (list, tuple)):
        return [_spelt_out(field, part, has_length) for part in value]
    if isinstance(value, Mapping):
        return with_defaults(message, value, has_length=has_length and field.full_name not in OWN_TIME)
    if isinstance(value, str) and message.full_name == "lrs.v1.Schedule":
        name = value.strip().lower()
        if name == "constant":
            return {"base": 1}
        if name == "wsd" and has_length and field.full_name not in OWN_TIME:
            return {"wsd": {"decay_steps": "20%"}}
    return value


def objective_of(objective: object) -> object:
    """An objective that may be given by the name of its metric alone: `"val_accuracy"` is one to raise."""
    if not isinstance(objective, str):
        return objective
    return judged_by(objective)


def judged_by(metric: str, rises: bool | None = None) -> dict[str, str]:
    """The objective that is this metric. Whether it is to rise is read from its name, unless it is known."""
    if rises is None:
        rises = _RISING.search(metric) is not None
    name = metric if metric in ("loss", "grad_norm") else allowed_name(metric)
    return {"metric": name, "mode": "MODE_MAX" if rises else "MODE_MIN"}


def as_typed(refusal: LrsError, arguments: SchedulerArguments, groups: Mapping[str, float]) -> LrsError:
    """The refusal of a job, in the words of the arguments that the job was made of."""
    if refusal.reason != "INVALID_ARGUMENT":
        return refusal
    spec = in_spec(cast("Mapping[str, Any]", arguments))
    given = {**spec, **{name: value for name, value in arguments.items() if value is not None}}
    has_length = bool({"total_steps", "target_epochs"} & given.keys())

    def say(complaint: re.Match[str]) -> str:
        path, value, is_missing = complaint[1], complaint[2], complaint[4] is not None
        allowed = complaint[3] or complaint[5] or ""
        root, leaf = re.split(r"[.\[]", path, maxsplit=1)[0], path.rpartition(".")[2]
        written, word = given.get(root), _written_at(given, path)
        if root == "groups" and "groups" not in spec:
            path = _group(path, arguments.get("groups"), list(groups))
        elif root == "controllers" and not isinstance(written, (list, tuple)):
            path = path.replace("controllers[0]", "controllers", 1)
        is_plain = isinstance(written, str) and path != root and "schedule" in root
        if is_plain and value is None and not is_missing and not has_length:
            return f"{root}: {written!r} needs total_steps: {leaf} "
        if is_missing and not allowed:
            allowed = "is required: " if is_plain else ""
        if is_plain:
            return f"{root}: {written!r} needs {leaf}, as in {{{written!r}: {{{leaf!r}: …}}}}, which {allowed}"
        if is_missing and (not allowed or leaf not in str(written)):
            return f"{path} is missing: it {allowed}" if allowed else f"{path}: is required: "
        # The service cannot tell a 0 from nothing.
        value = "0" if is_missing else value
        if value is None:
            return f"{path}: "
        if isinstance(word, str) and word.strip('"') != value.strip('"') and plain.number(word) is None:
            return f"{path}: {word!r}, which is {value}, is not allowed: {allowed}"
        return f"{path}: {value} is not allowed: {allowed}"

    text = _COMPLAINT.sub(say, str(refusal))
    return type(refusal)(text, code=refusal.code, reason=refusal.reason)


def _written_at(given: Mapping[str, Any], path: str) -> object:
    """What was written at a path of the spec; `None` if it cannot be told."""
    at: Any = given
    for name, index in re.findall(r"([\w-]+)|\[(\d+)\]", path):
        if name and isinstance(at, Mapping):
            at = next((value for key, value in at.items() if str(key).replace("-", "_") == name), None)
        elif index and isinstance(at, (list, tuple)) and int(index) < len(at):
            at = at[int(index)]
        elif not index or int(index) > 0:
            return None
    return at


def _group(path: str, typed: object, names: list[str]) -> str:
    found = re.match(r"groups\[(\d+)\]\.base_lr", path)
    if found is None or int(found[1]) >= len(names):
        return path
    if typed is not None and not isinstance(typed, Mapping):
        return "groups"
    return f"groups[{names[int(found[1])]!r}]"
