"""Steps past the end of a job's `total_steps`, where its schedule is over: each such training is warned of.

A trainer that goes on there trains at the schedule's last rate, which is often 0, so that it learns nothing more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lrs.job import short_name

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("lrs")


def warn_past_the_end(job: str, step: int, length: int, rates: Sequence[float]) -> None:
    """Warn that a trainer of `job` has trained `step`, past the job's `length`, with these rates."""
    told = ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates))
    log.warning(
        "Step %d of %s is past its total_steps = %d: its schedule is over, and the training goes on at the rate %s. Stop "
        "the training, or extend the job: %s.",
        step,
        job,
        length,
        told,
        _how_to_extend(job),
    )


def warn_of_a_short_job(job: str, length: int | None, trainers: int | None) -> None:
    """Warn at the start if the trainer makes more updates than its job has steps. `None`: not known."""
    if not length or not trainers or trainers <= length:
        return
    log.warning(
        "%s has total_steps = %d, but this trainer makes %d updates: from step %d on, the schedule is over, and the rate may "
        "be 0. Leave `total_steps` and `target_epochs` out, so that the job has the trainer's length, let the trainer end "
        "earlier, or extend the job: %s.",
        job,
        length,
        trainers,
        length,
        _how_to_extend(job, trainers),
    )


def _how_to_extend(job: str, length: int | str = "N") -> str:
    return f"`lrs job update {short_name(job)} --set spec.total_steps={length}`"
