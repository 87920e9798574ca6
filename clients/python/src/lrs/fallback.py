"""Which steps were trained without the service's last word."""

from __future__ import annotations

#: Stretches of steps that are remembered one by one; of more, only the number of steps is known.
_STRETCHES = 1000


class FallbackSteps:
    """Steps that went on with the plan, or with the last rates."""

    def __init__(self) -> None:
        self.count = 0
        """How many steps."""
        self._stretches: list[tuple[int, int]] = []

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """The first and the last step of each of the first 1000 unbroken stretches, rising."""
        return list(self._stretches)

    def record(self, step: int) -> None:
        """Take a step down; steps come in rising order."""
        self.count += 1
        if self._stretches and self._stretches[-1][1] + 1 == step:
            self._stretches[-1] = (self._stretches[-1][0], step)
        elif len(self._stretches) < _STRETCHES:
            self._stretches.append((step, step))

    def __repr__(self) -> str:
        return f"FallbackSteps(count={self.count}, stretches={self._stretches[:3]})"
