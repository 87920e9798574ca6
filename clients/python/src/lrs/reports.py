"""A step's report from the trainer's thread, and the sample made from it once its numbers are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lrs.contract import SKIPPED_METRIC
from lrs.outbox import Sample
from lrs.rates import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lrs.rates import Directive
    from lrs.readings import Reading


class Report(NamedTuple):
    """A step as the trainer's thread reports it. A device may still compute some of its numbers."""

    step: int
    """The step."""
    loss: float | Reading | None
    """The training loss."""
    grad_norm: float | Reading | None
    """The norm of the whole gradient before clipping."""
    directive: Directive | None
    """The directive that the step was trained with; `None` in a report of metrics alone."""
    learning_rate: float | None
    """The learning rate of the first group, if it differed from the directive's."""
    metrics: Sequence[tuple[str, float | Reading]] | None
    """Evaluations and other figures by name, in the order they were measured. A name may repeat."""


def is_ready(report: Report) -> bool:
    """Whether all numbers of a report are computed."""
    loss, norm, figures = report.loss, report.grad_norm, report.metrics
    if loss.__class__ is not float and not _is_there(loss):
        return False
    if norm.__class__ is not float and not _is_there(norm):
        return False
    return not figures or all(_is_there(value) for _, value in figures)


def sample_of(report: Report, on_failure: Callable[[Exception], None]) -> Sample:
    """Read the numbers of a report. Leaves out numbers that are not computed yet or cannot be read.

    `on_failure` is called with the exception that a device's library raised when a number was read.
    """
    step, loss, grad_norm, directive, rate, figures = report
    if loss.__class__ is not float:
        loss = _number(loss, on_failure)
    if grad_norm.__class__ is not float:
        grad_norm = _number(grad_norm, on_failure)
    metrics = None
    if figures:
        read = [(name, _number(value, on_failure)) for name, value in figures]
        # A device knows of each update whether it was skipped; only the skipped ones are recorded.
        metrics = [(name, value) for name, value in read if value is not None and (value or name != SKIPPED_METRIC)]
    if directive is None:
        return Sample(step, loss, grad_norm, rate, metrics, Standing.FINAL)
    return Sample(step, loss, grad_norm, directive.rates[0] if rate is None else rate, metrics, directive.standing)


def _is_there(value: float | Reading | None) -> bool:
    if value is None or isinstance(value, float):
        return True
    try:
        return value.ready()
    except Exception:  # noqa: BLE001 (reading the number raises it again)
        return True


def _number(value: float | Reading | None, on_failure: Callable[[Exception], None]) -> float | None:
    if value is None or isinstance(value, float):
        return value
    try:
        return value.value() if value.ready() else None
    except Exception as problem:  # noqa: BLE001 (training goes on, whatever a device's library raises)
        on_failure(problem)
        return None
