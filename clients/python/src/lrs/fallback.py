"""The steps that were trained without a final directive."""

from __future__ import annotations

#: How many stretches of steps are remembered; steps of later stretches are only counted.
_STRETCHES = 1000


class FallbackSteps:
    """Steps that were trained on the plan, or with the last rates."""

    def __init__(self) -> None:
        self.count = 0
        """How many steps."""
        self._stretches: list[tuple[int, int]] = []

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """The first and the last step of each unbroken stretch, in order; the first 1000 stretches."""
        return list(self._stretches)

    def record(self, step: int) -> None:
        """Add a step. Steps must rise."""
        self.count += 1
        if self._stretches and self._stretches[-1][1] + 1 == step:
            self._stretches[-1] = (self._stretches[-1][0], step)
        elif len(self._stretches) < _STRETCHES:
            self._stretches.append((step, step))

    def __repr__(self) -> str:
        return f"FallbackSteps(count={self.count}, stretches={self._stretches[:3]})"
