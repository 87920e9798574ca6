"""PyTorch: the scheduler of a trainer's adapter, made with what the trainer knows of its length and its schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lrs.implied import implying
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
    filled_in: CallbackArguments,
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
        filled_in: Those that the adapter has from the trainer. The user's take their place.
        model: The model to keep copies of. Default: none.
        before: The scheduler of an earlier training with the same adapter, which may have had another length.
        implied: Further fields of `filled_in` that nobody asked for.
        may_go_on: Whether the trainer may train the job further, so that it is completed at the end of the process.
    """
    asked = filled_in | given
    if "target_epochs" in given:
        asked.pop("total_steps", None)
    relength(None if before is None else before.core, cast("SchedulerArguments", asked), given)
    with implying({*_FILLED_IN, *implied} - set(given)):
        made = LRScheduler(optimizer, job, model=model, **asked)
    made.leave_habits()
    if may_go_on and made.core is not None:
        made.core.complete_later()
    return made
