"""Arguments as people type them: plain names of schedules, and the service's complaints in the words that were typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lrs.figures import allowed_name

if TYPE_CHECKING:
    from lrs.arguments import SchedulerArguments
    from lrs.errors import LrsError

#: What a schedule's name alone stands for, where the service has no default.
_PLAIN: Final[Mapping[str, Mapping[str, object]]] = {
    "constant": {"base": 1},  # the base rate at every step
    "wsd": {"wsd": {"decay_steps": "20%"}},  # a decay over the last fifth
}

#: Parts of the names of metrics of which a higher value is better.
_RISING: Final = re.compile(
    r"(^|[_/])(acc|accuracy|auc|auroc|bleu|f1|iou|map|precision|r2|recall|reward|rouge\w*|score|top\d+)($|[_/])",
    re.IGNORECASE,
)

#: A complaint of the service: the path, the value where there is one, and what is allowed.
_COMPLAINT: Final = re.compile(
    r"job\.spec\.([\w.\[\]\"' -]+?): (?:(\S+) is not allowed: (must be )|(is required): (must be )?)?"
)


def with_defaults(schedule: object, *, has_length: bool) -> object:
    """A schedule with the defaults of its plain name. `has_length` is whether the length of the training is known."""
    plain = _PLAIN.get(schedule.strip().lower()) if isinstance(schedule, str) else None
    return schedule if plain is None or not has_length else dict(plain)


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
    spec = arguments.get("spec") or {}
    given = {**(spec if isinstance(spec, Mapping) else {}), **arguments}

    def say(complaint: re.Match[str]) -> str:
        path, value, is_missing = complaint[1], complaint[2], complaint[4] is not None
        allowed = complaint[3] or complaint[5] or ""
        root = re.split(r"[.\[]", path, maxsplit=1)[0]
        if root == "groups" and "groups" not in spec:
            path = _group(path, arguments.get("groups"), list(groups))
        elif root == "controllers" and not isinstance(given.get(root), (list, tuple)):
            path = path.replace("controllers[0]", "controllers", 1)
        leaf = path.rpartition(".")[2]
        written = given.get(root)
        is_plain = root == "schedule" and isinstance(written, str) and path != root
        if value is None and not is_missing:
            return f"schedule: {written!r} needs total_steps: {leaf} " if is_plain else f"{path}: "
        if is_plain:
            return f"schedule: {written!r} needs {leaf}, as in {{{written!r}: {{{leaf!r}: …}}}}, which {allowed}"
        if is_missing and not allowed:
            return f"{path}: is required: "
        # The service cannot tell a 0 from nothing.
        if is_missing and leaf not in str(given.get(root)):
            return f"{path} is missing: it {allowed}"
        return f"{path}: {value or 0} is not allowed: {allowed}"

    text = _COMPLAINT.sub(say, str(refusal))
    return type(refusal)(text, code=refusal.code, reason=refusal.reason)


def _group(path: str, typed: object, names: list[str]) -> str:
    found = re.match(r"groups\[(\d+)\]\.base_lr", path)
    if found is None or int(found[1]) >= len(names):
        return path
    if typed is not None and not isinstance(typed, Mapping):
        return "groups"
    return f"groups[{names[int(found[1])]!r}]"
