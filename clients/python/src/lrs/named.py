"""The metrics that a job's controllers and objective name, for an adapter that reports them as far as its trainer logs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrs.figures import allowed_name
from lrs.job import short_name
from lrs.once import WarnOnce
from lrs.steering import needs, reads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from lrs.scheduler import Scheduler
    from lrs.v1.job_pb2 import JobSpec


class NamedMetrics:
    """What the spec of an adapter's job names, wherever the job was registered."""

    def __init__(self, core: Scheduler | None) -> None:
        """Nothing is named where another rank reports: there `core` is `None`."""
        self._core = core
        self._warn = WarnOnce()
        self._read: JobSpec | None = None
        self._names: set[str] = set()

    @property
    def _spec(self) -> JobSpec | None:
        return self._core.spec if self._core is not None else None

    @property
    def names(self) -> set[str]:
        """The names beside `loss` and `grad_norm`."""
        spec = self._spec
        if spec is not self._read:
            self._read, self._names = spec, reads(spec)
        return self._names

    def among(self, logged: Mapping[str, object]) -> dict[str, object]:
        """Those of the trainer's metrics that the spec names."""
        names = self.names
        return {name: value for name, value in logged.items() if names and allowed_name(name) in names}

    def evaluation(self, measured: Mapping[str, object]) -> dict[str, object]:
        """The metrics of an evaluation, named as by transformers and Ray, under the names of the service and of the spec.

        `eval_loss` becomes `val_loss`, which the service's controllers read. Where the spec names `eval_loss` itself, or
        `val_accuracy` or `accuracy` for an `eval_accuracy`, that name is there too.
        """
        told, names = dict(measured), self.names
        for name in names - measured.keys():
            theirs = next((known for known in _their_names(name) if known in measured), None)
            if theirs is not None:
                told[name] = measured[theirs]
        if "eval_loss" in told:
            told.setdefault("val_loss", told["eval_loss"])
            if "eval_loss" not in names:
                del told["eval_loss"]
        return told

    def miss(self, logs: Collection[str], can_come: Callable[[str], bool], how: str) -> None:
        """Warn, once for each, of the metrics that the spec names and that the trainer does not log.

        Args:
            logs: What the trainer logs, as far as it is known.
            can_come: Whether a metric that is not in `logs` may still come.
            how: What to do, as a sentence.
        """
        spec = self._spec
        if spec is None or self._core is None:
            return
        known = {allowed_name(name) for name in logs}
        for metric, namer in needs(spec).items():
            if metric not in known and not can_come(metric):
                told = f": it logs {', '.join(sorted(logs))}" if logs else ""
                self._warn(
                    metric,
                    f"{namer} of {short_name(self._core.job)} names the metric {metric}, which this trainer does not log"
                    f"{told}. {how}",
                )


def is_evaluation(metric: str) -> bool:
    """Whether the name of a metric is that of an evaluation."""
    return metric.startswith(("val_", "val/", "eval_", "eval/", "valid_", "valid/"))


def _their_names(metric: str) -> tuple[str, ...]:
    """How a trainer may call the metric of an evaluation that a spec names."""
    return f"eval_{metric.removeprefix('val_')}", f"eval_{metric}"
