"""PyTorch's own schedulers in the words of a job file, so that a job follows what a trainer was configured with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from torch.optim import lr_scheduler

from lrs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ATTRIBUTES: Final[Mapping[type, tuple[str, ...]]] = {
    lr_scheduler.StepLR: ("step_size", "gamma"),
    lr_scheduler.ConstantLR: ("factor", "total_iters"),
    lr_scheduler.LinearLR: ("start_factor", "end_factor", "total_iters"),
    lr_scheduler.ExponentialLR: ("gamma",),
    lr_scheduler.PolynomialLR: ("total_iters", "power"),
    lr_scheduler.CosineAnnealingLR: ("T_max", "eta_min"),
    lr_scheduler.CosineAnnealingWarmRestarts: ("T_0", "T_mult", "eta_min"),
}
_PLATEAU: Final = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")


def schedule_of(scheduler: object, *, steps: int = 1) -> dict[str, Any]:
    """The schedule of one of PyTorch's schedulers that the trainer steps once in `steps` updates.

    Raises:
        UsageError: If a job file has no words for it.
    """
    schedule: dict[str, Any] = {"library": "torch", **_call(scheduler)}
    return schedule if steps == 1 else {"pace": {"schedule": schedule, "units": 1, "steps": steps, "whole": True}}


def controller_of(scheduler: lr_scheduler.ReduceLROnPlateau, metric: str) -> dict[str, Any]:
    """The controller that does what a `ReduceLROnPlateau` does with a metric."""
    params = {name: getattr(scheduler, name) for name in _PLATEAU}
    params["min_lr"] = min(float(rate) for rate in scheduler.min_lrs)
    return {"library": "torch", "scheduler": "ReduceLROnPlateau", "params": params, "metric": metric}


def _call(scheduler: Any) -> dict[str, Any]:  # noqa: ANN401 (checked here)
    kind = type(scheduler)
    params: dict[str, Any]
    if kind in _ATTRIBUTES:
        params = {name: getattr(scheduler, name) for name in _ATTRIBUTES[kind]}
    elif kind is lr_scheduler.MultiStepLR:
        params = {"milestones": sorted(scheduler.milestones.elements()), "gamma": scheduler.gamma}
    elif kind is lr_scheduler.OneCycleLR:
        params = _one_cycle(scheduler)
    elif kind is lr_scheduler.SequentialLR:
        params = {"schedulers": [_call(part) for part in scheduler._schedulers], "milestones": scheduler._milestones}
    else:
        raise UsageError(
            f"The trainer has a {kind.__name__}, which a job file has no words for, and this callback sets the rates in its "
            "place. Remove it, and give the callback `schedule=…`, or `controller=…`."
        )
    return {"scheduler": kind.__name__, "params": params}


def _one_cycle(scheduler: Any) -> dict[str, Any]:  # noqa: ANN401 (a OneCycleLR)
    groups = scheduler.optimizer.param_groups
    if len({float(group["max_lr"]) for group in groups}) > 1:
        raise UsageError("The trainer has a OneCycleLR with several max_lr: give the callback `schedule=…` instead.")
    top, first, last = (float(groups[0][name]) for name in ("max_lr", "initial_lr", "min_lr"))
    phases = scheduler._schedule_phases
    return {
        "max_lr": top,
        "total_steps": scheduler.total_steps,
        "pct_start": (float(phases[0]["end_step"]) + 1) / scheduler.total_steps,
        "anneal_strategy": scheduler._anneal_func_type,
        "div_factor": top / first,
        "final_div_factor": first / last,
        "three_phase": len(phases) > 2,
        "cycle_momentum": False,
    }
