"""Copies of a scheduler, as `pickle`, `torch.save` and `copy.deepcopy` make them: its state, without threads.

A copy that reported too would report the same attempt twice.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lrs.rates import Directive, Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("lrs")


class SchedulerCopy:
    """The state of a scheduler. It has no connection: it holds its rates, and reports nothing.

    To train on from it, make a new scheduler and load `copy.state_dict()` into it.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = dict(state)
        self._has_warned = False

    @property
    def job(self) -> str:
        """The name of the job."""
        return str(self._state.get("job", ""))

    @property
    def next_step(self) -> int:
        """The step that the scheduler would have trained next."""
        return int(self._state.get("step", 0))

    @property
    def directive(self) -> Directive:
        """The rates that are held."""
        return Directive(self.next_step, tuple(self._state.get("rates", ())), Standing.HELD)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first parameter group."""
        return self.directive.rates[0]

    @property
    def stop_advice(self) -> str:
        """Empty: nobody advises a copy."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """The state, as the scheduler's `state_dict` returned it."""
        return dict(self._state)

    def get_last_lr(self) -> list[float]:
        """The rates that are held, by parameter group."""
        return list(self.directive.rates)

    def step(self, *_: object, **__: object) -> Directive:
        """Report nothing, and return the rates that are held. Logs a warning once."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "This is a copy of the scheduler of %s: it has no connection, reports nothing and holds its rates. Make a "
                "new scheduler, and load copy.state_dict() into it.",
                self.job,
            )
        return self.directive

    def guard(self, *_: object) -> bool:
        """Make every update."""
        return True

    def log(self, *_: object, **__: object) -> None:
        """Report nothing."""

    def close(self, timeout: float | None = None) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return f"SchedulerCopy(job={self.job!r}, next_step={self.next_step})"
