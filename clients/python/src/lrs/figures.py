"""Metrics that wait for the next report. Nothing that a trainer measures raises: it is made to fit, or left out."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lrs.errors import MetricError, UsageError
from lrs.reported import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from lrs.readings import Reading

log = logging.getLogger("lrs")

_NOT_IN_A_NAME = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
_MAX_NAME_CHARS: Final = 100
_OWN_COLUMNS = frozenset({"loss", "grad_norm", "learning_rate"})
#: A message may have 64 series; one of them marks the steps trained on the plan.
_MAX_METRICS: Final = 63
#: The service takes so many values of a metric at a step.
_MAX_VALUES: Final = 64


class Figures:
    """Metrics that any thread may log. The next reported step takes them along."""

    def __init__(self, needed: Callable[[], Collection[str]] = tuple) -> None:
        """Nothing is logged yet. `needed` tells the names that the job's controllers and objective wait for."""
        self._needed = needed
        self.pending: list[tuple[str, float | Reading]] = []
        """The metrics that were logged since the last step, in order. A name may repeat."""
        self.left_out = 0
        """How many values were left out: no numbers, too many names, or too many values of a metric at a step."""
        self._names: dict[str, str] = {}
        self._allowed: dict[str, object] = {}  # with what was written for each at first
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of the metrics, in the order they first came."""
        return list(self._allowed)

    def log(self, *given: Mapping[str, object]) -> None:
        """Keep metrics for the next step. Raises `UsageError` if something is no mapping."""
        with self._lock:
            for metrics in given:
                self._add(metrics)

    def take(self, metrics: Mapping[str, object] | None = None) -> list[tuple[str, float | Reading]]:
        """The logged metrics, and after them the step's own. Raises `UsageError` if its own are no mapping."""
        with self._lock:
            if metrics:
                self._add(metrics)
            figures, self.pending = self.pending, []
        return figures

    def after_fork(self) -> None:
        """Take a new lock: another thread of the parent may have held the old one."""
        self._lock = threading.Lock()

    def _add(self, metrics: Mapping[str, object]) -> None:
        if not isinstance(metrics, Mapping):
            raise UsageError(f"metrics must map names to numbers, as in {{'accuracy': 0.5}}, and was {metrics!r:.60}.")
        for written, value in metrics.items():
            name = self._names.get(written) or self._name(written)
            if name is None:
                self.left_out += 1
                continue
            if sum(1 for known, _ in self.pending if known == name) >= _MAX_VALUES:
                self._leave_out(name, f"has more than {_MAX_VALUES} values between two steps: the first are kept")
                continue
            try:
                self.pending.append((name, reading(value, name)))
            except MetricError as problem:
                self._leave_out(name, f"is left out where it is no number: {problem}")

    def _name(self, written: object) -> str | None:
        """The name that a metric of this name gets; `None` if there are too many."""
        name = allowed_name(written)
        if name not in self._allowed:
            # A name that the job waits for finds a place, however many others came first.
            needed = {name for name in self._needed() if name not in self._allowed}
            if len(self._allowed) + len(needed - {name}) >= _MAX_METRICS:
                self._warn(
                    "",
                    f"{written!r:.110} and later metrics are left out: there may be {_MAX_METRICS} names of metrics, with "
                    "those that the job's controllers and objective name.",
                )
                return None
            self._allowed[name] = written
        first = self._allowed[name]
        if first != written:
            self._warn(
                f"{name} collides",
                f"The metrics {first!r:.110} and {written!r:.110} are both reported as {name!r}, so they are one series: give "
                "them names that differ.",
            )
        elif name != written:
            self._warn(
                name,
                f"The metric {written!r:.110} is reported as {name!r}: a name has no spaces, 1 to "
                f"{_MAX_NAME_CHARS} characters, and is not `loss`, `grad_norm` or `learning_rate`.",
            )
        if isinstance(written, str) and len(self._names) < 2 * _MAX_METRICS:
            self._names[written] = name
        return name

    def _leave_out(self, name: str, problem: str) -> None:
        self.left_out += 1
        self._warn(f"{name} left out", f"The metric {name!r} {problem}.")

    def _warn(self, about: str, text: str) -> None:
        """Log a warning once for each metric."""
        if about not in self._warned:
            self._warned.add(about)
            log.warning("%s", text)


def allowed_name(written: object) -> str:
    """The name that the service takes for a metric of this name: the same, if it can be."""
    name = _NOT_IN_A_NAME.sub("_", str(written))[:_MAX_NAME_CHARS] or "_"
    return f"{name}_" if name in _OWN_COLUMNS else name
