"""Metrics on their way into a report: their names, and what is logged before its step."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lrs.errors import UsageError
from lrs.reported import reading

if TYPE_CHECKING:
    from lrs.readings import Reading

_METRIC_NAME = re.compile(r"\S{1,100}")
_OWN_COLUMNS = frozenset({"loss", "grad_norm", "learning_rate"})
#: Of the 64 series that a message may have, one is for steps trained on the plan.
_MAX_METRICS: Final = 63


class Figures:
    """Metrics that any thread may log, and that go with the next step that is reported."""

    def __init__(self) -> None:
        self.pending: dict[str, float | Reading] = {}
        """What was logged since the last step."""
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def log(self, metrics: Mapping[str, object]) -> None:
        """Keep metrics for the next step; raises `MetricError` and `UsageError`."""
        with self._lock:
            self.pending.update(self._checked(metrics))

    def take(self, metrics: Mapping[str, object] | None = None) -> dict[str, float | Reading]:
        """What was logged, and the step's own metrics; raises `MetricError` and `UsageError`."""
        with self._lock:
            figures, self.pending = self.pending, {}
            if metrics:
                figures.update(self._checked(metrics))
        return figures

    def after_fork(self) -> None:
        """Forget the lock: another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def _checked(self, metrics: Mapping[str, object]) -> dict[str, float | Reading]:
        if not isinstance(metrics, Mapping):
            raise UsageError(f"metrics are numbers by name, as in {{'accuracy': 0.5}}, and were {metrics!r:.60}.")
        for name in metrics:
            if name in self._names:
                continue
            if not isinstance(name, str) or not _METRIC_NAME.fullmatch(name) or name in _OWN_COLUMNS:
                raise UsageError(
                    f"{name!r} can not be a metric's name: it has 1 to 100 characters without spaces, and is not `loss`, "
                    "`grad_norm` or `learning_rate`, which step() takes by themselves."
                )
            if len(self._names) >= _MAX_METRICS:
                raise UsageError(f"{name!r} would be metric number {_MAX_METRICS + 1}; there may be {_MAX_METRICS}.")
            self._names.add(name)
        return {name: reading(value, name) for name, value in metrics.items()}
