"""Metrics that wait for the next report, and the check of their names."""

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
#: A message may have 64 series; one of them marks the steps trained on the plan.
_MAX_METRICS: Final = 63


class Figures:
    """Metrics that any thread may log. The next reported step takes them along."""

    def __init__(self) -> None:
        self.pending: dict[str, float | Reading] = {}
        """The metrics that were logged since the last step."""
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def log(self, metrics: Mapping[str, object]) -> None:
        """Keep metrics for the next step. Raises `MetricError` or `UsageError` if they are invalid."""
        with self._lock:
            self.pending.update(self._checked(metrics))

    def take(self, metrics: Mapping[str, object] | None = None) -> dict[str, float | Reading]:
        """The logged metrics together with the step's own. Raises `MetricError` or `UsageError` if its own are invalid."""
        with self._lock:
            figures, self.pending = self.pending, {}
            if metrics:
                figures.update(self._checked(metrics))
        return figures

    def after_fork(self) -> None:
        """Take a new lock: another thread of the parent may have held the old one."""
        self._lock = threading.Lock()

    def _checked(self, metrics: Mapping[str, object]) -> dict[str, float | Reading]:
        if not isinstance(metrics, Mapping):
            raise UsageError(f"metrics must map names to numbers, as in {{'accuracy': 0.5}}, and was {metrics!r:.60}.")
        for name in metrics:
            if name in self._names:
                continue
            if not isinstance(name, str) or not _METRIC_NAME.fullmatch(name) or name in _OWN_COLUMNS:
                raise UsageError(
                    f"{name!r} cannot be the name of a metric: a name has 1 to 100 characters, no spaces, and is not `loss`, "
                    "`grad_norm` or `learning_rate`, which are arguments of step()."
                )
            if len(self._names) >= _MAX_METRICS:
                raise UsageError(f"{name!r} would be metric number {_MAX_METRICS + 1}; there may be {_MAX_METRICS}.")
            self._names.add(name)
        return {name: reading(value, name) for name, value in metrics.items()}
