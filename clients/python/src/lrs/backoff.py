"""How long to wait before the next try: longer each time, and at random, so that trainers do not all retry at once."""

from __future__ import annotations

import random
from typing import NamedTuple


class Backoff(NamedTuple):
    """Exponential waits between a first and a longest one, in seconds."""

    first: float = 0.05
    """The wait after the first failure."""
    longest: float = 2.0
    """The longest wait."""

    def wait(self, failures: int) -> float:
        """A random wait after `failures` failures in a row: at least half of the exponential wait, at most all of it."""
        full = min(self.first * 2.0 ** min(max(failures - 1, 0), 31), self.longest)
        return full * random.uniform(0.5, 1.0)
