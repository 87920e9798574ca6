"""PyTorch: the scheduler of a trainer's adapter, made with what the trainer knows of its length and its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lrs.implied import filled_in, implying, names_given
from lrs.past_end import warn_of_a_short_job
from lrs.relength import relength
from lrs.torch import CallbackArguments, LRScheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from lrs.arguments import SchedulerArguments

_FILLED_IN = ("total_steps", "steps_per_epoch", "tier", "objective")


def scheduler_of(
    optimizer: torch.optim.Optimizer,
    job: str,
    given: CallbackArguments,
    theirs: CallbackArguments,
    *,
    model: torch.nn.Module | None = None,
    before: LRScheduler | None = None,
    implied: Iterable[str] = (),
    may_go_on: bool = True,
) -> LRScheduler:
    """Register or find the job. The attempt begins later, so a checkpoint's state can be loaded.

    Args:
        optimizer: See `LRScheduler`.
        job: See `LRScheduler`.
        given: The arguments of the adapter's user.
        theirs: Those that the adapter has from the trainer. The user's take their place, in `spec` too.
        model: The model to keep copies of. Default: none.
        before: The scheduler of an earlier training with the same adapter, which may have had another length.
        implied: Further fields of `theirs` that nobody asked for.
        may_go_on: Whether the trainer may train the job further, so that it is completed at the end of the process.
    """
    asked = filled_in(theirs, given)
    relength(None if before is None else before.core, cast("SchedulerArguments", asked), given)
    with implying({*_FILLED_IN, *implied} - names_given(given)):
        made = LRScheduler(optimizer, job, model=model, **asked)
    made.leave_habits()
    core = made.core
    if core is not None:
        updates = theirs.get("total_steps")
        warn_of_a_short_job(core.job, core.total_steps, updates if isinstance(updates, int) else None)
        if may_go_on:
            core.complete_later()
    return made
