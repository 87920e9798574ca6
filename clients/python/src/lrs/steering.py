"""What a job's controllers steer by, and a warning where it does not come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from lrs.once import WarnOnce
    from lrs.v1.controller_pb2 import Controller
    from lrs.v1.job_pb2 import JobSpec

#: A loss that has not come after so many steps is missed.
LOSS_AFTER: Final = 20
#: An evaluation that has not come after so many steps, or two epochs if they are longer, is missed.
METRIC_AFTER: Final = 1000
#: The controllers' field for their metric. That of `auto` may be left out: it works without evaluations.
_FIELDS: Final = ("metric", "evaluation_metric")
_OWN: Final = ("loss", "grad_norm")
_NOISE_SCALE: Final = ("grad2_small", "batch_small", "grad2_big", "batch_big")


def steers_by(spec: JobSpec) -> dict[str, str]:
    """The metrics that a job's controllers steer by, each with the name of a controller."""
    wanted: dict[str, str] = {}
    for controller in spec.controllers:
        kind = controller.WhichOneof("kind")
        if kind is None:
            wanted.setdefault(_library_metric(controller), controller.scheduler)
            continue
        message = getattr(controller, kind)
        named = [getattr(message, field) for field in _FIELDS if hasattr(message, field)]
        if kind == "noise_scale":
            named = list(_NOISE_SCALE)
        if kind == "auto" or not named:
            wanted.setdefault("loss", kind)
        for metric in named:
            if metric or kind != "auto":
                wanted.setdefault(metric or "loss", kind)
    return wanted


def needs(spec: JobSpec) -> dict[str, str]:
    """The metrics beside loss and norm that a job's spec names, each with what names it: a controller, or the objective."""
    wanted = steers_by(spec)
    if spec.objective.metric:
        wanted.setdefault(spec.objective.metric, "the objective")
    return {metric: namer for metric, namer in wanted.items() if metric not in _OWN}


def reads(spec: JobSpec | None) -> set[str]:
    """The metrics beside loss and norm that change something in a job: those of `needs`, and what `auto` uses if it comes."""
    if spec is None:
        return set()
    wanted = needs(spec)
    if any(controller.WhichOneof("kind") == "auto" for controller in spec.controllers):
        objective = spec.objective.metric
        wanted.setdefault(objective if objective and objective not in _OWN else "val_loss", "auto")
    return set(wanted)


def _library_metric(controller: Controller) -> str:
    """The metric of a library's scheduler. Keras names it in its own arguments."""
    if controller.library != "keras":
        return controller.metric or "loss"
    named = controller.params.fields.get("monitor")
    return named.string_value if named is not None else "val_loss"


class Steering:
    """Warns once of each metric that a controller steers by and that has not come."""

    def __init__(self, warn: WarnOnce) -> None:
        self._warn = warn

    def look(self, spec: JobSpec | None, steps: int, losses: int, norms: int, known: Collection[str]) -> int:
        """Look at what has come in the attempt's first `steps` steps, and return after how many steps to look again.

        Args:
            spec: The job's spec; `None` while it is not known.
            steps: How many steps were trained.
            losses: How many of them had a loss.
            norms: How many of them had the norm of the gradient.
            known: The names of the metrics that were reported.
        """
        if spec is None:
            return steps + LOSS_AFTER
        later = max(METRIC_AFTER, 2 * spec.steps_per_epoch)
        has = {"loss": losses > 0, "grad_norm": norms > 0}
        for metric, controller in steers_by(spec).items():
            own = metric in has
            if not has.get(metric, metric in known) and (own or steps >= later):
                how = (
                    "Call `scheduler.step(loss)`"
                    if metric == "loss"
                    else f"Report it, as by `scheduler.log({metric}=…)`"
                )
                if metric == "grad_norm":
                    how = "Call `scheduler.guard(loss)` before each update"
                self._warn(
                    metric,
                    f"{controller} steers by {metric}, but no {metric} has come in {steps} steps, so it changes nothing. "
                    f"{how}.",
                )
        return later if steps < later else steps + later
