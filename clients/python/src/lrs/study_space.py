"""Turns the flat parameters of a study into a schedule and controllers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrs.errors import UsageError
from lrs.lengths import rounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lrs.arguments import ControllerArguments

__all__ = ["SCHEDULES", "controllers_of", "schedule_of"]

#: The schedules that `schedule_of` knows. `none` is the base rate at every step.
SCHEDULES = ("none", "cosine", "linear", "one_cycle", "wsd")


def schedule_of(parameters: Mapping[str, Any], *, total_steps: int) -> dict[str, Any] | None:
    """The schedule for a study's parameters, written as in a job file; `None` for the base rate at every step.

    Args:
        parameters: `schedule`, one of `SCHEDULES`. With `cosine` and `linear` also `floor_share`, the last rate as a share
            of the base rate (default: 0). With `one_cycle`: `pct_start`, the share of the steps in which the rate rises
            (0.3). With `wsd`: `decay_share`, the share of the steps in which it decays (0.3). With all but `one_cycle`:
            `warmup_share`, the share of the steps in which the rate first rises (0).
        total_steps: The number of updates in the training.

    Raises:
        UsageError: If there is no such schedule.
    """
    kind = parameters["schedule"]
    warmup_steps = rounded(float(parameters.get("warmup_share", 0)) * total_steps)
    form: dict[str, Any] | None
    if kind == "none":
        form = None
    elif kind in ("cosine", "linear"):
        form = {kind: {"floor": {"min_factor": float(parameters.get("floor_share", 0))}}}
    elif kind == "one_cycle":
        return {"one_cycle": {"pct_start": float(parameters.get("pct_start", 0.3))}}
    elif kind == "wsd":
        decay_steps = max(1, rounded(float(parameters.get("decay_share", 0.3)) * total_steps))
        form = {"wsd": {"warmup_steps": warmup_steps, "decay_steps": min(decay_steps, total_steps - warmup_steps)}}
        warmup_steps = 0
    else:
        raise UsageError(f"There is no schedule {kind!r} here. The schedules are {', '.join(SCHEDULES)}.")
    if warmup_steps == 0:
        return form
    return {"warmup": {"warmup_steps": warmup_steps} | ({"schedule": form} if form else {})}


def controllers_of(parameters: Mapping[str, Any], *, metric: str = "loss") -> ControllerArguments:
    """The arguments of `lrs.Scheduler` for a study's parameters: `controller`, `controllers`, or none.

    Args:
        parameters: `controller`: `none`, `auto` or `plateau`. With `plateau` also `factor` and `patience`.
        metric: The metric that the plateau controller watches.

    Raises:
        UsageError: If there is no such controller.
    """
    kind = parameters["controller"]
    if kind == "none":
        return {}
    if kind == "auto":
        return {"controller": "auto"}
    if kind == "plateau":
        plateau: dict[str, Any] = {name: parameters[name] for name in ("factor", "patience") if name in parameters}
        return {"controllers": [{"reduce_lr_on_plateau": plateau | {"metric": metric}}]}
    raise UsageError(f"There is no controller {kind!r} here. The controllers are none, auto and plateau.")
