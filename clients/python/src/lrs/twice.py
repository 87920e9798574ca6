"""What is given twice, as an argument and in `spec`: the same twice is fine, and different values are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lrs.v1.job_pb2 import JobSpec


def check_once(
    as_arguments: JobSpec, as_in_spec: JobSpec, given: Mapping[str, Any], written: Mapping[str, Any]
) -> None:
    """Refuse a field that is given as an argument and in `spec`, with different values.

    Args:
        as_arguments: The spec if the arguments hold.
        as_in_spec: The spec if `spec` holds.
        given: The arguments, by field.
        written: What is in `spec`, by field.

    Raises:
        UsageError: With the field and both values.
    """
    for name in sorted(given.keys() & written.keys()):
        if getattr(as_arguments, name) != getattr(as_in_spec, name):
            raise UsageError(
                f"{name} is given twice: {given[name]!r:.60} as an argument, and {written[name]!r:.60} in spec. Give it once."
            )


def merged_groups(written: Sequence[dict[str, Any]], rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """The groups of a spec with the base rates of the trainer, where the spec leaves them out.

    Raises:
        UsageError: If both say a base rate, and not the same, or if they do not name the same groups.
    """
    if not written:
        return [{"name": name, "base_lr": rate} for name, rate in rates.items()]
    names = [str(group.get("name", "default")) for group in written]
    shared = min(len(names), len(rates))
    theirs = list(rates)
    if names[:shared] != theirs[:shared] and not (len(names) == len(rates) == 1 and theirs == ["default"]):
        raise UsageError(
            f"groups is given twice: the groups {theirs} by the trainer, and {names} in spec. Give the same names in the same "
            "order, or give the groups once."
        )
    merged = []
    for group, name, rate in zip(written, names, [*rates.values(), *[None] * len(names)], strict=False):
        if rate is not None and group.get("base_lr", rate) != rate:
            raise UsageError(
                f"The base learning rate of {name!r} is given twice: {rate} by the trainer, and {group['base_lr']} in spec. "
                "Give it once."
            )
        merged.append(group if rate is None else {**group, "base_lr": rate})
    return merged
