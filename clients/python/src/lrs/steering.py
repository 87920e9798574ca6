"""What a job's controllers steer by, and a warning where it does not come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from lrs.once import WarnOnce
    from lrs.v1.job_pb2 import JobSpec

#: A loss that has not come after so many steps is missed.
LOSS_AFTER: Final = 20
#: An evaluation that has not come after so many steps, or two epochs if they are longer, is missed.
METRIC_AFTER: Final = 1000
#: The controllers' field for their metric. That of `auto` may be left out: it works without evaluations.
_FIELDS: Final = ("metric", "evaluation_metric")
_NOISE_SCALE: Final = ("grad2_small", "batch_small", "grad2_big", "batch_big")


def steers_by(spec: JobSpec) -> dict[str, str]:
    """The metrics that a job's controllers steer by, each with the name of a controller."""
    wanted: dict[str, str] = {}
    for controller in spec.controllers:
        kind = controller.WhichOneof("kind")
        if kind is None:
            if controller.metric:
                wanted.setdefault(controller.metric, controller.scheduler)
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
